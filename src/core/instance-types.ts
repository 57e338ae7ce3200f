/**
 * The instance types, one table. Nothing ever parses a name for its size: the naming rule has exceptions.
 * S5 (Xeon 8255C class), SA2 (EPYC Rome class) and M5 (S5 with more memory) follow the public catalogue; T1 is small enough for a lab.
 *
 * T1 shares the host's processors. The others own theirs, core by core; half a core cannot be owned, so what has one vCPU shares
 * too. M5 has its memory in hugepages, which a host must have set aside.
 */
import { plainPromise, type PageSize, type Promised } from "./machine.ts";

const familyNames = ["T1", "S5", "SA2", "M5"] as const;

export interface InstanceType {
  name: string;
  family: (typeof familyNames)[number];
  vcpus: number;
  memoryGiB: number;
  /** Network ceilings of the catalogue: Gbit/s and thousand packets per second. */
  bandwidthGbps: number;
  kpps: number;
  promised: Promised;
}

type Row = readonly [name: string, vcpus: number, memoryGiB: number, bandwidthGbps: number, kpps: number];

const families: Readonly<Record<InstanceType["family"], readonly Row[]>> = {
  T1: [
    ["T1.SMALL1", 1, 1, 1, 100],
    ["T1.MEDIUM2", 2, 2, 1, 100],
    ["T1.LARGE4", 4, 4, 1, 100],
  ],
  S5: [
    ["S5.SMALL1", 1, 1, 1.5, 250],
    ["S5.SMALL2", 1, 2, 1.5, 250],
    ["S5.SMALL4", 1, 4, 1.5, 250],
    ["S5.MEDIUM2", 2, 2, 1.5, 300],
    ["S5.MEDIUM4", 2, 4, 1.5, 300],
    ["S5.MEDIUM8", 2, 8, 1.5, 300],
    ["S5.LARGE4", 4, 4, 1.5, 500],
    ["S5.LARGE8", 4, 8, 1.5, 500],
    ["S5.LARGE16", 4, 16, 1.5, 500],
    ["S5.2XLARGE16", 8, 16, 3, 800],
    ["S5.2XLARGE32", 8, 32, 3, 800],
    ["S5.4XLARGE32", 16, 32, 6, 1500],
    ["S5.4XLARGE64", 16, 64, 6, 1500],
    ["S5.6XLARGE48", 24, 48, 8, 2000],
    ["S5.6XLARGE96", 24, 96, 8, 2000],
    ["S5.8XLARGE64", 32, 64, 10, 2500],
    ["S5.8XLARGE128", 32, 128, 10, 2500],
    ["S5.12XLARGE96", 48, 96, 12, 3500],
    ["S5.12XLARGE192", 48, 192, 12, 3500],
    ["S5.16XLARGE256", 64, 256, 23, 5000],
    ["S5.21XLARGE320", 84, 320, 23, 6000],
  ],
  SA2: [
    ["SA2.SMALL1", 1, 1, 1.5, 250],
    ["SA2.SMALL2", 1, 2, 1.5, 250],
    ["SA2.SMALL4", 1, 4, 1.5, 250],
    ["SA2.MEDIUM2", 2, 2, 1.5, 300],
    ["SA2.MEDIUM4", 2, 4, 1.5, 300],
    ["SA2.MEDIUM8", 2, 8, 1.5, 300],
    ["SA2.LARGE8", 4, 8, 1.5, 500],
    ["SA2.LARGE16", 4, 16, 1.5, 500],
    ["SA2.2XLARGE8", 8, 8, 1.5, 700],
    ["SA2.2XLARGE16", 8, 16, 1.5, 700],
    ["SA2.2XLARGE32", 8, 32, 1.5, 700],
    ["SA2.4XLARGE16", 16, 16, 3, 1000],
    ["SA2.4XLARGE32", 16, 32, 3, 1000],
    ["SA2.4XLARGE64", 16, 64, 3, 1000],
    ["SA2.8XLARGE64", 32, 64, 5, 2000],
    ["SA2.8XLARGE128", 32, 128, 5, 2000],
    ["SA2.12XLARGE96", 48, 96, 8, 2500],
    ["SA2.12XLARGE128", 48, 128, 8, 2500],
    ["SA2.16XLARGE128", 64, 128, 10, 3000],
    ["SA2.16XLARGE192", 64, 192, 10, 3000],
    ["SA2.16XLARGE256", 64, 256, 10, 3000],
    ["SA2.20XLARGE160", 80, 160, 12, 3500],
    ["SA2.22XLARGE192", 90, 192, 15, 4000],
    ["SA2.22XLARGE224", 90, 224, 15, 4000],
    ["SA2.32XLARGE256", 128, 256, 18, 5000],
    ["SA2.40XLARGE320", 160, 320, 20, 6000],
    ["SA2.45XLARGE464", 180, 464, 25, 7000],
  ],
  M5: [
    ["M5.MEDIUM16", 2, 16, 1.5, 300],
    ["M5.LARGE32", 4, 32, 1.5, 500],
    ["M5.2XLARGE64", 8, 64, 3, 800],
    ["M5.4XLARGE128", 16, 128, 6, 1500],
    ["M5.8XLARGE256", 32, 256, 10, 2500],
    ["M5.12XLARGE384", 48, 384, 12, 3500],
  ],
};

const memoryPages: Readonly<Record<InstanceType["family"], PageSize | null>> = {
  T1: null,
  S5: null,
  SA2: null,
  M5: "2M",
};

function promised(family: InstanceType["family"], vcpus: number): Promised {
  if (family === "T1" || vcpus === 1) return plainPromise;
  // As many as can be busy at once, within what a card of the catalogue has.
  const nicQueues = Math.min(vcpus, 16);
  const iothreads = vcpus >= 16 ? 4 : vcpus >= 8 ? 2 : 1;
  return { cpu: "dedicated", threadsPerCore: null, hugepages: memoryPages[family], nicQueues, iothreads };
}

export const instanceTypes: readonly InstanceType[] = familyNames.flatMap((family) =>
  families[family].map(([name, vcpus, memoryGiB, bandwidthGbps, kpps]) => ({
    name,
    family,
    vcpus,
    memoryGiB,
    bandwidthGbps,
    kpps,
    promised: promised(family, vcpus),
  })),
);

const byName = new Map(instanceTypes.map((type) => [type.name, type]));

export function instanceType(name: string): InstanceType | undefined {
  return byName.get(name);
}
