import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Refusal } from "./error-codes.ts";
import { readAuthorization, signatureValid, type SignedRequest } from "./tc3.ts";
import { testKey } from "./cloud.fake.ts";
import { signedHeaders, type Signing } from "./served.fake.ts";

const now = 1_767_225_600 + 12 * 3600;

function requestOf(given: Omit<Signing, "body"> & { body: string }): SignedRequest {
  const { method = "POST", target = "/" } = given;
  return {
    method,
    target,
    headers: signedHeaders("DescribeZones", { timestamp: now, ...given }),
    body: Buffer.from(method === "GET" ? "" : given.body),
  };
}

function verdict(request: SignedRequest, at = now, secretKey = testKey.secretKey): string {
  try {
    return signatureValid(request, readAuthorization(request.headers, at), secretKey)
      ? "ok"
      : "AuthFailure.SignatureFailure";
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
}

describe("the published vectors", () => {
  // From the documentation of the signature and from a newer example that also signs the action.
  const body = '{"Limit": 1, "Filters": [{"Values": ["\\u672a\\u547d\\u540d"], "Name": "instance-name"}]}';
  it.each([
    [
      "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE",
      "content-type;host",
      "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
    ],
    [
      "Gu5t9xGARNpq86cd98joQYCN3*******",
      "content-type;host",
      "2230eefd229f582d8b1b891af7107b91597240707d778ab3738f756258d7652c",
    ],
    [
      "*".repeat(32),
      "content-type;host;x-tc-action",
      "10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f",
    ],
  ])("verify: %s, %s", (secretKey, names, signature) => {
    const request: SignedRequest = {
      method: "POST",
      target: "/",
      headers: {
        host: "cvm.tencentcloudapi.com",
        "content-type": "application/json; charset=utf-8",
        "x-tc-action": "DescribeInstances",
        "x-tc-timestamp": "1551113065",
        authorization: `TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, SignedHeaders=${names}, Signature=${signature}`,
      },
      body: Buffer.from(body),
    };
    expect(verdict(request, 1_551_113_065, secretKey)).toBe("ok");
    expect(verdict(request, 1_551_113_065, `${secretKey}x`)).toBe("AuthFailure.SignatureFailure");
  });
});

describe("the spellings of clients", () => {
  it.each<[string, Omit<Signing, "body">]>([
    ["Node: host without its port", { headers: { host: "127.0.0.1:8080" }, signedHost: "127.0.0.1", service: "127" }],
    ["Go: host with its port", { headers: { host: "cvm.lab.example:8080" } }],
    ["tccli: an endpoint with its scheme", { headers: { host: "http://127.0.0.1:8080" } }],
    ["Node: the endpoint's path", { target: "/cvm/" }],
    ["Go: / whatever the endpoint's path", { target: "/cvm/", signedPath: "/" }],
    ["a proxy's absolute form", { target: "http://cvm.example/", signedPath: "/" }],
    ["GET", { method: "GET", target: "/?InstanceIds.0=ins-00000001&Limit=5" }],
    [
      "the action signed in lower case",
      { signedHeaders: ["content-type", "host", "x-tc-action"], headers: { "x-tc-action": "describezones" } },
    ],
  ])("%s", (_, given) => {
    expect(verdict(requestOf({ body: '{"名":"值"}', ...given }))).toBe("ok");
  });

  it("signs in lower case what is sent in mixed case", () => {
    const lower = requestOf({ body: "{}", headers: { "content-type": "application/json; charset=utf-8" } });
    const sent = { ...lower, headers: { ...lower.headers, "content-type": "application/json; charset=UTF-8" } };
    expect(verdict(sent)).toBe("ok");
  });
});

describe("what is refused before any key is looked at", () => {
  const good = requestOf({ body: "{}" });
  const authorization = good.headers["authorization"] ?? "";
  const day = new Date(now * 1000).toISOString().slice(0, 10);
  it.each<[string, Record<string, string | undefined>, string]>([
    ["no signature", { authorization: undefined }, "AuthFailure.InvalidAuthorization"],
    ["SKIP", { authorization: "SKIP" }, "AuthFailure.InvalidAuthorization"],
    [
      "another method of signing",
      { authorization: authorization.replace("TC3-HMAC-SHA256", "HmacSHA256") },
      "AuthFailure.InvalidAuthorization",
    ],
    [
      "host not signed",
      { authorization: authorization.replace("content-type;host", "content-type") },
      "AuthFailure.InvalidAuthorization",
    ],
    [
      "content-type not signed",
      { authorization: authorization.replace("content-type;host", "host") },
      "AuthFailure.InvalidAuthorization",
    ],
    ["half a signature", { authorization: authorization.slice(0, -1) }, "AuthFailure.InvalidAuthorization"],
    ["another day", { authorization: authorization.replace(day, "2001-02-03") }, "AuthFailure.SignatureFailure"],
    ["a day that is none", { authorization: authorization.replace(day, "2026-99-99") }, "AuthFailure.SignatureFailure"],
    ["a session token", { "x-tc-token": "t" }, "AuthFailure.TokenFailure"],
    ["an unsigned body", { "x-tc-content-sha256": "UNSIGNED-PAYLOAD" }, "AuthFailure.SignatureFailure"],
    ["no timestamp", { "x-tc-timestamp": undefined }, "MissingParameter"],
    ["a timestamp that is none", { "x-tc-timestamp": "soon" }, "AuthFailure.SignatureExpire"],
  ])("%s", (_, headers, code) => {
    expect(verdict({ ...good, headers: { ...good.headers, ...headers } })).toBe(code);
  });

  it("is signed for another day, even by the key's owner", () => {
    expect(verdict(requestOf({ body: "{}", date: "2026-01-02" }))).toBe("AuthFailure.SignatureFailure");
  });

  it("is older or newer than 300 s", () => {
    expect([-301, -300, 0, 300, 301].map((shift) => verdict(good, now + shift))).toEqual([
      "AuthFailure.SignatureExpire",
      "ok",
      "ok",
      "ok",
      "AuthFailure.SignatureExpire",
    ]);
  });
});

describe("any change", () => {
  const signed = requestOf({
    method: "POST",
    target: "/path?query=1",
    body: '{"InstanceIds":["ins-00000001"]}',
    signedHeaders: ["content-type", "host", "x-tc-action", "x-tc-timestamp"],
  });

  it("of a bit of the body is refused", () => {
    expect(verdict(signed)).toBe("ok");
    fc.assert(
      fc.property(fc.nat(signed.body.length * 8 - 1), (bit) => {
        const body = Uint8Array.from(signed.body);
        body[bit >> 3] = (body[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(verdict({ ...signed, body })).not.toBe("ok");
      }),
    );
  });

  it("of a letter of a signed header, the signature, the path or the query is refused, case aside", () => {
    const places = ["content-type", "host", "x-tc-action", "x-tc-timestamp", "authorization", "target"] as const;
    fc.assert(
      fc.property(fc.constantFrom(...places), fc.nat(), fc.integer({ min: 0x21, max: 0x7e }), (place, at, code) => {
        const old = place === "target" ? signed.target : (signed.headers[place] ?? "");
        const index = at % old.length;
        const changed = old.slice(0, index) + String.fromCharCode(code) + old.slice(index + 1);
        fc.pre(changed.toLowerCase() !== old.toLowerCase());
        // The secret id chooses the key, which this function is given.
        fc.pre(place !== "authorization" || changed.includes(`Credential=${testKey.secretId}/`));
        const request =
          place === "target"
            ? { ...signed, target: changed }
            : { ...signed, headers: { ...signed.headers, [place]: changed } };
        expect(verdict(request)).not.toBe("ok");
      }),
      { numRuns: 1000 },
    );
  });

  it("of the method or the key is refused", () => {
    expect(verdict({ ...signed, method: "GET" })).toBe("AuthFailure.SignatureFailure");
    fc.assert(
      fc.property(fc.string(), (key) => {
        fc.pre(key !== testKey.secretKey);
        expect(verdict(signed, now, key)).toBe("AuthFailure.SignatureFailure");
      }),
    );
  });

  it("that takes a signed header away is refused, even an empty one", () => {
    const empty = requestOf({
      body: "{}",
      headers: { "x-extra": "" },
      signedHeaders: ["content-type", "host", "x-extra"],
    });
    expect(verdict(empty)).toBe("ok");
    const without = { ...empty, headers: { ...empty.headers, "x-extra": undefined } };
    expect(verdict(without)).toBe("AuthFailure.SignatureFailure");
  });

  it("of which headers are signed is refused", () => {
    const authorization = signed.headers["authorization"]?.replace(";x-tc-timestamp", "");
    expect(verdict({ ...signed, headers: { ...signed.headers, authorization } })).toBe("AuthFailure.SignatureFailure");
    expect(verdict({ ...signed, headers: { ...signed.headers, "x-tc-action": undefined } })).toBe(
      "AuthFailure.SignatureFailure",
    );
  });
});

it("accepts every body, over its raw bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const body = Buffer.from(bytes);
      const headers = signedHeaders("DescribeZones", { timestamp: now, body });
      const request = { method: "POST", target: "/", headers, body };
      expect(verdict(request)).toBe("ok");
    }),
  );
});
