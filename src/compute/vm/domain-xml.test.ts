import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync, rmSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { noLimits } from "../../api/agent-storage.ts";
import type { DiskId, InstanceId } from "../../lib/ids.ts";
import { domainXml, type DomainPlan } from "./domain-xml.ts";
import { hasDirtyRing, withDirtyRing } from "./domain-xml/firmware.ts";
import { domainUuid, parseMark } from "./mark.ts";

const plan: DomainPlan = {
  id: "ins-abcd1234" as InstanceId,
  title: "web",
  mark: { epoch: 3, incarnation: 7, resets: 2 },
  accelerator: "tcg",
  dirtyRing: false,
  emulator: "/usr/bin/qemu-system-x86_64",
  vcpus: 2,
  machine: {
    baseline: "host",
    without: [],
    memoryMiB: 1024,
    hugepages: null,
    iothreads: 0,
    nicQueues: 1,
    pool: null,
    vcpuCpus: null,
    topology: null,
    cells: [],
  },
  boot: { kind: "direct", kernel: "/images/k", initrd: "/images/i", cmdline: "console=ttyS0 quiet" },
  extras: { tpm: null, hyperv: false },
  systemDisk: {
    id: "disk-abcd1234" as DiskId,
    file: "/state/disk.qcow2",
    cache: "none",
    io: "io_uring",
    backing: { file: "/images/base.qcow2", format: "qcow2" },
    limits: noLimits,
  },
  dataDisks: [
    {
      id: "disk-efgh5678" as DiskId,
      file: "/shared/data.qcow2",
      cache: "none",
      io: "io_uring",
      backing: null,
      slot: 20,
      limits: { bytes: 100_000_000, iops: 1800 },
    },
  ],
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
          <disk type='file' device='disk' model='virtio-non-transitional'>
            <driver name='qemu' type='qcow2' cache='none' io='io_uring' discard='unmap' error_policy='enospace'/>
            <source file='/state/disk.qcow2'/>
            <backingStore type='file'>
              <format type='qcow2'/>
              <source file='/images/base.qcow2'/>
              <backingStore/>
            </backingStore>
            <target dev='vda' bus='virtio'/>
            <serial>disk-abcd1234</serial>
            <alias name='ua-disk-abcd1234'/>
            <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
          </disk>
          <disk type='file' device='disk' model='virtio-non-transitional'>
            <driver name='qemu' type='raw' cache='writeback'/>
            <source file='/state/seed.img'/>
            <backingStore/>
            <target dev='vdb' bus='virtio'/>
            <readonly/>
            <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
          </disk>
          <controller type='pci' index='1' model='pcie-root-port'>
            <address type='pci' domain='0x0000' bus='0x00' slot='0x10' function='0x0'/>
          </controller>
          <controller type='pci' index='2' model='pcie-to-pci-bridge'/>
          <disk type='file' device='disk' model='virtio-non-transitional'>
            <driver name='qemu' type='qcow2' cache='none' io='io_uring' discard='unmap' error_policy='enospace'/>
            <source file='/shared/data.qcow2'/>
            <backingStore/>
            <target dev='vdw' bus='virtio'/>
            <iotune>
              <total_bytes_sec>100000000</total_bytes_sec>
              <total_iops_sec>1800</total_iops_sec>
            </iotune>
            <serial>disk-efgh5678</serial>
            <alias name='ua-disk-efgh5678'/>
            <address type='pci' domain='0x0000' bus='0x02' slot='0x15' function='0x0'/>
          </disk>
          <interface type='bridge'>
            <mac address='52:54:00:00:00:01'/>
            <source bridge='br-abcd1234'/>
            <target dev='t0-abcd1234'/>
            <model type='virtio-non-transitional'/>
            <mtu size='1450'/>
            <rom enabled='no'/>
            <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>
          </interface>
          <serial type='unix'>
            <source mode='bind' path='/run/console.sock'/>
            <log file='/state/console-7.log' append='on'/>
            <target type='isa-serial' port='0'/>
          </serial>
          <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
          <graphics type='vnc'><listen type='socket'/></graphics>
          <video><model type='vga' vram='16384'/></video>
          <controller type='virtio-serial' index='0' model='virtio-non-transitional'>
            <address type='pci' domain='0x0000' bus='0x00' slot='0x0c' function='0x0'/>
          </controller>
          <rng model='virtio-non-transitional'>
            <backend model='random'>/dev/urandom</backend>
            <address type='pci' domain='0x0000' bus='0x00' slot='0x0d' function='0x0'/>
          </rng>
          <memballoon model='virtio-non-transitional' freePageReporting='on'>
            <address type='pci' domain='0x0000' bus='0x00' slot='0x0e' function='0x0'/>
          </memballoon>
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

  test("a dedicated guest has its own processors, its memory in hugepages, and QEMU's threads out of its way", () => {
    const xml = domainXml({
      ...plan,
      vcpus: 4,
      machine: {
        ...plan.machine,
        memoryMiB: 2048,
        hugepages: "2M",
        iothreads: 1,
        nicQueues: 4,
        pool: "0,8",
        vcpuCpus: [1, 9, 5, 13],
        topology: { sockets: 2, cores: 1, threads: 2 },
        cells: [
          { vcpus: "0-1", memoryMiB: 1024, hostNode: 0 },
          { vcpus: "2-3", memoryMiB: 1024, hostNode: 1 },
        ],
      },
    });
    expect(xml.slice(xml.indexOf("  <memory "), xml.indexOf("  <os>"))).toMatchInlineSnapshot(`
      "  <memory unit='MiB'>2048</memory>
        <memoryBacking>
          <hugepages><page size='2048' unit='KiB'/></hugepages>
          <source type='memfd'/>
          <allocation mode='immediate' threads='4'/>
        </memoryBacking>
        <vcpu placement='static'>4</vcpu>
        <iothreads>1</iothreads>
        <cputune>
          <vcpupin vcpu='0' cpuset='1'/>
          <vcpupin vcpu='1' cpuset='9'/>
          <vcpupin vcpu='2' cpuset='5'/>
          <vcpupin vcpu='3' cpuset='13'/>
          <emulatorpin cpuset='0,8'/>
          <iothreadpin iothread='1' cpuset='0,8'/>
        </cputune>
        <numatune>
          <memory mode='strict' nodeset='0,1'/>
          <memnode cellid='0' mode='strict' nodeset='0'/>
          <memnode cellid='1' mode='strict' nodeset='1'/>
        </numatune>
      "
    `);
    expect(xml.slice(xml.indexOf("  <cpu "), xml.indexOf("  <clock"))).toMatchInlineSnapshot(`
      "  <cpu mode='maximum' check='none' migratable='on'>
          <topology sockets='2' cores='1' threads='2'/>
          <numa>
            <cell id='0' cpus='0-1' memory='1024' unit='MiB'/>
            <cell id='1' cpus='2-3' memory='1024' unit='MiB'/>
          </numa>
        </cpu>
      "
    `);
    expect(xml).toContain("io='io_uring' iothread='1'");
    expect(xml).toContain("<driver queues='4' rx_queue_size='1024'/>");
  });

  test("a guest that shares runs where nobody has a processor of his own", () => {
    const xml = domainXml({ ...plan, machine: { ...plan.machine, pool: "0-2" } });
    expect(xml).toContain("<vcpu placement='static' cpuset='0-2'>2</vcpu>");
    expect(xml).not.toContain("<cputune>");
  });

  test("a zone's named processor is the guest's, and nothing else is put in its place", () => {
    const baseline = { model: "Nehalem", features: [{ name: "aes", policy: "disable" as const }] };
    const xml = domainXml({ ...plan, machine: { ...plan.machine, baseline } });
    expect(xml).toContain("<cpu mode='custom' match='exact' check='none'>");
    expect(xml).toContain("<model fallback='forbid'>Nehalem</model>\n    <feature policy='disable' name='aes'/>");
  });

  const uefi = { kind: "disk", firmware: "uefi", secureBoot: false, nvram: "/state/nvram.fd" } as const;

  test("an image that boots from its disk gets its firmware and no kernel", () => {
    const bios = domainXml({ ...plan, boot: { kind: "disk", firmware: "bios" } });
    expect(bios).toContain("<boot dev='hd'/>");
    expect(bios).not.toMatch(/<kernel>|<loader|<nvram/);
    const plain = domainXml({ ...plan, boot: uefi });
    expect(plain).toContain("secure='no' type='pflash' format='raw'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>");
    expect(plain).toContain("OVMF_VARS_4M.fd' templateFormat='raw' format='raw'>/state/nvram.fd</nvram>");
    expect(plain).not.toContain("<smm");
  });

  test("secure boot comes with SMM and enrolled keys", () => {
    const xml = domainXml({ ...plan, boot: { ...uefi, secureBoot: true } });
    expect(xml).toContain("secure='yes' type='pflash' format='raw'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader>");
    expect(xml).toContain("<nvram template='/usr/share/OVMF/OVMF_VARS_4M.ms.fd'");
    expect(xml).toContain("<smm state='on'/>");
  });

  test("a TPM has its state where the instance's files are", () => {
    const xml = domainXml({ ...plan, extras: { tpm: "/state/tpm", hyperv: false } });
    expect(xml).toContain("<backend type='emulator' version='2.0'><source type='dir' path='/state/tpm'/></backend>");
  });

  test("Hyper-V's enlightenments are KVM's; the clock in local time is Windows' in any case", () => {
    const extras = { tpm: null, hyperv: true };
    const kvm = domainXml({ ...plan, accelerator: "kvm", extras });
    expect(kvm).toContain("<hyperv mode='custom'>");
    expect(kvm).toContain("<spinlocks state='on' retries='8191'/>");
    expect(kvm).toContain("<timer name='hypervclock' present='yes'/>");
    const tcg = domainXml({ ...plan, extras });
    expect(tcg).not.toMatch(/hyperv mode|hypervclock/);
    for (const xml of [kvm, tcg]) expect(xml).toContain("<clock offset='localtime'>");
  });

  test("a ring of changed pages is there where it is asked for, and put in and taken out again for a guest that moves", () => {
    const without = domainXml({ ...plan, accelerator: "kvm" });
    const ringed = domainXml({ ...plan, accelerator: "kvm", dirtyRing: true });
    expect([without, ringed].map(hasDirtyRing)).toEqual([false, true]);
    expect(withDirtyRing(without, true)).toBe(ringed);
    expect(withDirtyRing(ringed, false)).toBe(without);
    expect(withDirtyRing(ringed, true)).toBe(ringed);
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
        const windows = {
          accelerator: "kvm",
          boot: { ...uefi, secureBoot: true },
          extras: { tpm: "/state/tpm", hyperv: true },
          dirtyRing: true,
        } as const;
        for (const change of [{ title: "a & b" }, windows]) {
          writeFileSync(file, domainXml({ ...plan, ...change }));
          const said = spawnSync("virt-xml-validate", [file, "domain"], { encoding: "utf8" });
          expect(said).toMatchObject({ status: 0 });
        }
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
