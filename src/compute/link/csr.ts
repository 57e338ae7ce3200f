/**
 * The host's key and its certificate signing request (PKCS #10, RFC 2986), for one fixed shape: ECDSA P-256, a common name, no
 * attributes. Forty lines of DER here instead of an ASN.1 library in every Compute, which would be most of its start-up time.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";

/** A fresh P-256 private key as PKCS #8 PEM. */
export function newKey(): string {
  return generateKeyPairSync("ec", { namedCurve: "P-256" })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString();
}

/** The request in PEM, signed by the key it speaks for. */
export function signingRequest(commonName: string, keyPem: string): string {
  const key = createPrivateKey(keyPem);
  const publicKey = createPublicKey(key).export({ type: "spki", format: "der" });
  const attribute = der(0x30, oid("550403"), der(0x0c, Buffer.from(commonName, "utf8")));
  const subject = der(0x30, der(0x31, attribute));
  const info = der(0x30, der(0x02, Buffer.from([0])), subject, publicKey, der(0xa0));
  const signature = sign("sha256", info, key);
  const algorithm = der(0x30, oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const request = der(0x30, info, algorithm, der(0x03, Buffer.from([0]), signature));
  const body =
    request
      .toString("base64")
      .match(/.{1,64}/g)
      ?.join("\n") ?? "";
  return `-----BEGIN CERTIFICATE REQUEST-----\n${body}\n-----END CERTIFICATE REQUEST-----\n`;
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}
