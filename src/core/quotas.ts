/**
 * What an account may have at most. One table: a quota that is not here does not exist, and one that is has a default, a name for
 * people and a place in the account's own settings. How much is in use is counted in src/vstation/store/quotas.ts.
 */

interface Quota {
  readonly default: number;
  /** What there may be so many of, in the plural. */
  readonly words: string;
}

export const quotas = {
  instances: { default: 10_000, words: "instances" },
  vcpus: { default: 100_000, words: "vCPUs" },
  memoryGiB: { default: 400_000, words: "GiB of memory" },
  images: { default: 100, words: "images" },
  keys: { default: 1_000, words: "key pairs" },
  groups: { default: 1_000, words: "disaster-recover groups" },
  disks: { default: 2_000, words: "disks" },
  diskGiB: { default: 200_000, words: "GiB of disks" },
  snapshots: { default: 1_000, words: "snapshots" },
  vpcs: { default: 50, words: "VPCs" },
  subnets: { default: 500, words: "subnets" },
  securityGroups: { default: 500, words: "security groups" },
  elasticAddresses: { default: 100, words: "elastic addresses" },
  accessKeys: { default: 20, words: "API keys" },
} as const satisfies Record<string, Quota>;

export type QuotaName = keyof typeof quotas;
export const quotaNames = Object.keys(quotas) as QuotaName[];

/** Amounts by quota; what is not named is nothing. */
export type Amounts = Readonly<Partial<Record<QuotaName, number>>>;
export type Limits = Readonly<Record<QuotaName, number>>;

/** An account's limits: its own settings over the defaults. */
export function limitsOf(own: Amounts): Limits {
  return Object.fromEntries(quotaNames.map((name) => [name, own[name] ?? quotas[name].default])) as unknown as Limits;
}

export interface Exceeded {
  readonly quota: QuotaName;
  readonly limit: number;
  readonly used: number;
  readonly asked: number;
}

/** The first quota that would be passed by taking `asked` more. What asks for nothing passes, even over a limit that was lowered. */
export function exceeded(limits: Amounts, used: Amounts, asked: Amounts): Exceeded | undefined {
  for (const quota of quotaNames) {
    const more = asked[quota] ?? 0;
    const limit = limits[quota];
    if (more <= 0 || limit === undefined) continue;
    const now = used[quota] ?? 0;
    if (now + more > limit) return { quota, limit, used: now, asked: more };
  }
  return undefined;
}

/** In words, for the one who asked. */
export function exceededText({ quota, limit, used, asked }: Exceeded): string {
  return `the account may have ${limit} ${quotas[quota].words}; it has ${used} and asks for ${asked} more`;
}
