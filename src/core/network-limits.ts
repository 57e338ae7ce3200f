/** How much may be in one network thing; how many such things an account may have is in quotas.ts. The numbers are those that users of the CVM API know. */
export const networkLimits = {
  routeTablesPerVpc: 10,
  natGatewaysPerVpc: 3,
  groupsPerInstance: 5,
  policiesPerDirection: 100,
  tagsPerResource: 50,
} as const;

export type NetworkLimit = keyof typeof networkLimits;
