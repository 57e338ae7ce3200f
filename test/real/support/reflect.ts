/** What @peculiar/x509's dependency container asks of `Reflect` when it is loaded; it uses none of the answers. */
Object.assign(Reflect, {
  getMetadata: () => undefined,
  getOwnMetadata: () => undefined,
  hasOwnMetadata: () => false,
  defineMetadata: () => undefined,
});
