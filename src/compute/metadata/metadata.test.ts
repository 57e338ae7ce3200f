import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { InstanceSpec, WantedSubnet } from "../../api/agent.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { lookUp, metadata, type Subject } from "./document.ts";
import { MetadataService } from "./service.ts";

const subnet = { id: "subnet-a", vpcId: "vpc-a", cidr: "10.1.0.0/20", gateway: "10.1.0.1" } as unknown as WantedSubnet;
const spec = {
  name: "a web server",
  hostname: "web-1",
  nics: [
    { mac: "02:00:00:00:00:01", ip: "10.1.0.10", subnetId: "subnet-a", securityGroupIds: [], elasticIp: "192.0.2.9" },
  ],
  userData: Buffer.from([0, 255, 10]).toString("base64"),
  publicKeys: ["ssh-ed25519 AAAA one\n"],
} as unknown as InstanceSpec;
const subject: Subject = {
  id: "ins-abcd1234" as InstanceId,
  spec,
  subnets: [subnet],
  place: { region: "ap-x", zone: "ap-x-1" },
};
const document = metadata(subject);
const at = (path: string): string | undefined => lookUp(document, path)?.toString("utf8");

describe("the document", () => {
  test("lists folders and tells texts, by Tencent's names", () => {
    expect(at("/")).toBe("latest/");
    expect(at("/latest/")).toBe("meta-data/\nuser-data");
    expect(at("/latest/meta-data/")?.split("\n")).toContain("placement/");
    expect(at("/latest/meta-data/instance-id")).toBe("ins-abcd1234");
    expect(at("/latest/meta-data/placement/zone")).toBe("ap-x-1");
    expect(at("/latest/meta-data/public-ipv4")).toBe("192.0.2.9");
    expect(at("/latest/meta-data/public-keys/0/openssh-key")).toBe("ssh-ed25519 AAAA one");
    const card = "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01";
    expect(at(`${card}/vpc-id`)).toBe("vpc-a");
    expect(at(`${card}/local-ipv4s/10.1.0.10/subnet-mask`)).toBe("255.255.240.0");
    expect(lookUp(document, "latest/user-data")).toEqual(Buffer.from([0, 255, 10]));
  });

  test("has nothing at other paths, those of JavaScript's own objects included", () => {
    for (const path of ["/latest/meta-data/nothing", "/latest/meta-data/mac/x", "/constructor", "/latest/__proto__"]) {
      expect(at(path)).toBeUndefined();
    }
  });
});

describe("the service", () => {
  let listener: Server;
  let service: MetadataService;
  let known: Subject | undefined = subject;
  beforeEach(async () => {
    known = subject;
    listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    service = new MetadataService(listener, (address) => (address === "127.0.0.1" ? known : undefined));
  });
  afterEach(() => service.close());
  const url = (path: string): string => `http://127.0.0.1:${(listener.address() as AddressInfo).port}${path}`;

  test("answers the guest whose address asks, and closes the door on everybody else", async () => {
    expect(await (await fetch(url("/latest/meta-data/hostname"))).text()).toBe("web-1");
    expect((await fetch(url("/latest/nothing"))).status).toBe(404);
    known = undefined;
    const { port } = listener.address() as AddressInfo;
    const said = await new Promise<string>((resolve) => {
      let text = "";
      const socket = connect(port, "127.0.0.1", () => socket.write("GET /latest/ HTTP/1.0\r\n\r\n"));
      socket.on("data", (part) => (text += part.toString()));
      socket.on("error", () => undefined).on("close", () => resolve(text));
    });
    expect(said).toBe("");
  });

  test("refuses what changes, and what comes on behalf of others", async () => {
    expect((await fetch(url("/latest/meta-data/"), { method: "PUT" })).status).toBe(405);
    const headers = { "x-forwarded-for": "10.1.0.99" };
    expect((await fetch(url("/latest/meta-data/"), { headers })).status).toBe(403);
  });

  test("an address that asks too often waits", async () => {
    const statuses = new Set<number>();
    for (let n = 0; n < 400 && !statuses.has(429); n++) statuses.add((await fetch(url("/latest/"))).status);
    expect(statuses).toEqual(new Set([200, 429]));
  });

  test("garbage ends its connection and nothing else", async () => {
    const { port } = listener.address() as AddressInfo;
    await new Promise<void>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.write(`\0\xff ${"x".repeat(9000)}\r\n\r\n`));
      socket.on("error", () => undefined).on("close", () => resolve());
    });
    expect((await fetch(url("/latest/"))).status).toBe(200);
  });
});
