/**
 * The command line with which libvirt started a guest, read from the log it keeps per guest, and the same guest without libvirt:
 * the floor that a delivery is compared with.
 *
 * What is taken away is only what needs libvirt at the other end: descriptors that it passed (tap, monitor, serial log), the
 * wait for its monitor's `cont` (-S), its secret. Machine, CPU, memory, devices, disks, caches and sandbox stay, word for word.
 */

export interface LoggedCommand {
  readonly env: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
}

/** The newest start in `/var/log/libvirt/qemu/<name>.log`. Throws when there is none. */
export function lastCommand(log: string): LoggedCommand {
  const lines = log.split("\n");
  const first = lines.findLastIndex((line) => line.includes(": starting up libvirt version:")) + 1;
  const length = lines.slice(first).findIndex((line) => !line.endsWith("\\")) + 1;
  const words = first === 0 ? [] : shellWords(lines.slice(first, first + length).join("\n"));
  const program = words.findIndex((word) => word.startsWith("/"));
  if (program < 0) throw new Error("the log names no start of QEMU");
  const env = Object.fromEntries(
    words.slice(0, program).map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]),
  );
  return { env, argv: words.slice(program) };
}

/** Splits what libvirt's shell quoting joined: bare text, 'quoted text', backslash escapes, escaped line ends. */
export function shellWords(text: string): string[] {
  const words: string[] = [];
  for (const [word] of text.matchAll(/(?:'[^']*'|\\[^\n]|[^\s'\\])+/g)) {
    words.push(word.replaceAll(/'([^']*)'|\\(.)/g, (_, quoted?: string, escaped?: string) => quoted ?? escaped ?? ""));
  }
  return words;
}

export interface BarePlan {
  /** A folder of its own: sockets, logs, and what lay in libvirt's folder of the guest. */
  readonly dir: string;
  /** A tap that exists, is up and is a port of the right bridge. */
  readonly tap: string;
  /** Text to replace wherever it occurs, such as the path of the disk by that of its copy. */
  readonly replace: ReadonlyMap<string, string>;
  readonly name: string;
}

/** The same guest, started by hand. Throws for an option it does not understand, rather than measuring another guest. */
export function bareCommand(logged: LoggedCommand, plan: BarePlan): string[] {
  const [program, ...rest] = logged.argv;
  if (program === undefined) throw new Error("an empty command line");
  const out = [program];
  for (let i = 0; i < rest.length; i++) {
    const option = rest[i] ?? "";
    if (option === "-S") continue;
    const value = rest[i + 1]?.startsWith("-") === false ? rest[++i] : undefined;
    const bare = value === undefined ? [option] : bareOption(option, value, plan);
    out.push(...bare.map((word) => replaced(word, plan)));
  }
  const passed = out.find((word) => /\bfd(set)?[="/:]|\/dev\/fdset\//.test(word));
  if (passed !== undefined) throw new Error(`QEMU was passed a descriptor in a way unknown here: ${passed}`);
  return out;
}

function bareOption(option: string, value: string, plan: BarePlan): string[] {
  switch (option) {
    case "-name":
      return [option, value.replace(/guest=[^,]*/, `guest=${plan.name}`)];
    case "-object":
      return value.includes('"secret"') ? [] : [option, value];
    case "-mon":
    case "-add-fd":
      return [];
    case "-netdev":
      return [option, bareNetdev(value, plan.tap)];
    case "-chardev":
      return value.includes("id=charmonitor") ? [] : [option, bareChardev(value, plan.dir)];
    case "-vnc":
      return [option, value.replace(/unix:[^,]*/, `unix:${plan.dir}/vnc.sock`)];
    default:
      return [option, value];
  }
}

function bareNetdev(value: string, tap: string): string {
  const { fd, fds, vhostfd, vhostfds, ...rest } = JSON.parse(value) as Record<string, unknown>;
  if (rest["type"] !== "tap") throw new Error(`a network device that is no tap: ${value}`);
  if (fds !== undefined || vhostfds !== undefined) throw new Error(`a tap with several queues: ${value}`);
  return JSON.stringify({
    ...rest,
    ...(fd === undefined ? {} : { ifname: tap, script: "no", downscript: "no" }),
    ...(vhostfd === undefined ? {} : { vhost: true }),
  });
}

function bareChardev(value: string, dir: string): string {
  const id = /id=([^,]*)/.exec(value)?.[1] ?? "chardev";
  return value
    .replace(/(log(?:file|path)|path)=\/dev\/fdset\/\d+/, `$1=${dir}/${id}.log`)
    .replace(/(?<=,)fd=\d+/, `path=${dir}/${id}.sock`);
}

function replaced(word: string, { replace }: BarePlan): string {
  let text = word;
  for (const [from, to] of replace) text = text.replaceAll(from, to);
  return text;
}
