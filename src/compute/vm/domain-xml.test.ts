import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync, rmSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { InstanceId } from "../../lib/ids.ts";
import { domainXml, type DomainPlan } from "./domain-xml.ts";
import { domainUuid, parseMark } from "./mark.ts";

const plan: DomainPlan = {
  id: "ins-abcd1234" as InstanceId,
  title: "web",
  mark: { epoch: 3, incarnation: 7, resets: 2 },
  accelerator: "tcg",
  emulator: "/usr/bin/qemu-system-x86_64",
  vcpus: 2,
  memoryMiB: 1024,
  boot: { kind: "direct", kernel: "/images/k", initrd: "/images/i", cmdline: "console=ttyS0 quiet" },
  systemDisk: {
    id: "disk-abcd1234",
    file: "/state/disk.qcow2",
    cache: "none",
    backing: { file: "/images/base.qcow2", format: "qcow2" },
  },
  seedFile: "/state/seed.img",
  nics: [{ mac: "52:54:00:00:00:01", bridge: "br-abcd1234", tap: "t0-abcd1234", mtu: 1450 }],
  console: { log: "/state/console-7.log", socket: "/run/console.sock" },
};

describe("domainXml", () => {
  test("is what it was when it was last looked at", () => {
    expect(domainXml(plan)).toMatchInlineSnapshot(`
      "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
        <name>ins-abcd1234</name>
        <uuid>e18ebd4b-90bd-87e9-ab0f-433b184788ee</uuid>
        <title>web</title>
        <metadata>
          <vstation:start xmlns:vstation='urn:vstation:instance' epoch='3' incarnation='7' resets='2'/>
        </metadata>
        <memory unit='MiB'>1024</memory>
        <vcpu placement='static'>2</vcpu>
        <os>
          <type arch='x86_64' machine='q35'>hvm</type>
          <kernel>/images/k</kernel>
          <initrd>/images/i</initrd>
          <cmdline>console=ttyS0 quiet</cmdline>
        </os>
        <features><acpi/><apic/><vmport state='off'/></features>
        <cpu mode='maximum' check='none' migratable='on'/>
        <clock offset='utc'>
          <timer name='rtc' tickpolicy='catchup'/>
          <timer name='pit' tickpolicy='delay'/>
          <timer name='hpet' present='no'/>
        </clock>
        <on_poweroff>destroy</on_poweroff>
        <on_reboot>restart</on_reboot>
        <on_crash>destroy</on_crash>
        <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>
        <devices>
          <emulator>/usr/bin/qemu-system-x86_64</emulator>
          <disk type='file' device='disk'>
            <driver name='qemu' type='qcow2' cache='none' discard='unmap' error_policy='enospace'/>
            <source file='/state/disk.qcow2'/>
            <backingStore type='file'>
              <format type='qcow2'/>
              <source file='/images/base.qcow2'/>
              <backingStore/>
            </backingStore>
            <target dev='vda' bus='virtio'/>
            <serial>disk-abcd1234</serial>
          </disk>
          <disk type='file' device='disk'>
            <driver name='qemu' type='raw' cache='writeback'/>
            <source file='/state/seed.img'/>
            <backingStore/>
            <target dev='vdb' bus='virtio'/>
            <readonly/>
          </disk>
          <interface type='bridge'>
            <mac address='52:54:00:00:00:01'/>
            <source bridge='br-abcd1234'/>
            <target dev='t0-abcd1234'/>
            <model type='virtio'/>
            <mtu size='1450'/>
            <rom enabled='no'/>
          </interface>
          <serial type='unix'>
            <source mode='bind' path='/run/console.sock'/>
            <log file='/state/console-7.log' append='on'/>
            <target type='isa-serial' port='0'/>
          </serial>
          <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
          <graphics type='vnc'><listen type='socket'/></graphics>
          <video><model type='vga' vram='16384'/></video>
          <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
          <memballoon model='virtio' freePageReporting='on'/>
          <panic model='isa'/>
          <controller type='usb' model='none'/>
        </devices>
        <qemu:capabilities><qemu:del capability='cpu-unavailable-features'/></qemu:capabilities>
      </domain>
      "
    `);
  });

  test("under KVM it gives the guest the host's own processor", () => {
    const xml = domainXml({ ...plan, accelerator: "kvm" });
    expect(xml).toContain("<domain type='kvm'");
    expect(xml).toContain("<cpu mode='host-passthrough'");
  });

  test.each([
    ["bios", "<boot dev='hd'/>"],
    ["uefi", "<os firmware='efi'>"],
  ] as const)("an image that boots from its disk by %s gets its firmware and no kernel", (firmware, part) => {
    const xml = domainXml({ ...plan, boot: { kind: "disk", firmware } });
    expect(xml).toContain(part);
    expect(xml).not.toContain("<kernel>");
  });

  test("a tenant's name stays text, whatever is in it", () => {
    const title = `</title><devices>&'"\u0000\u0007\nsecond line \ud800 ends`;
    const xml = domainXml({ ...plan, title });
    expect(xml).toContain(`<title>&lt;/title&gt;&lt;devices&gt;&amp;'" second line \ufffd ends</title>`);
    expect(xml.match(/<devices>/g)).toHaveLength(1);
  });

  test("the mark in it reads back as it was written", () => {
    expect(parseMark(domainXml(plan))).toEqual(plan.mark);
    expect(parseMark("<other/>")).toBeNull();
  });

  // libvirt's own schema is the judge where it is installed.
  test.skipIf(!existsSync("/usr/bin/virt-xml-validate") || !existsSync("/usr/share/libvirt/schemas/domain.rng"))(
    "libvirt's schema accepts it",
    () => {
      const directory = mkdtempSync(join(tmpdir(), "vstation-xml-"));
      try {
        const file = join(directory, "domain.xml");
        writeFileSync(file, domainXml({ ...plan, title: "a & b" }));
        const said = spawnSync("virt-xml-validate", [file, "domain"], { encoding: "utf8" });
        expect(said).toMatchObject({ status: 0 });
      } finally {
        rmSync(directory, { recursive: true });
      }
    },
  );
});

describe("domainUuid", () => {
  test("is the same for an id at all times, differs between ids, and is a well-formed uuid", () => {
    const one = domainUuid("ins-abcd1234" as InstanceId);
    expect(one).toBe(domainUuid("ins-abcd1234" as InstanceId));
    expect(one).not.toBe(domainUuid("ins-abcd1235" as InstanceId));
    expect(one).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});
