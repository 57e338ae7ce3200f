/** How set-up talks: lines on standard error, so that a program's own answer on standard output stays clean. */

/** @param {string} line */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** An end that is explained in full by its message: no stack is shown. */
export class Stop extends Error {}

/** Shows what is being done until it is done, with its time. Quick work shows nothing.
 * @template T @param {string} what @param {() => Promise<T>} work @returns {Promise<T>} */
export async function step(what, work) {
  const began = performance.now();
  const shown = setTimeout(() => say(`… ${what}`), 300);
  try {
    return await work();
  } finally {
    clearTimeout(shown);
    const seconds = (performance.now() - began) / 1000;
    if (seconds > 1) say(`  ${what}: ${seconds.toFixed(0)} s`);
  }
}
