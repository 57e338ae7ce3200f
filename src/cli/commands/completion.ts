/**
 * `completion bash`: commands and options come from the tree of commands, so that completion answers at once and knows what
 * this release knows; names of instances, hosts and keys are asked for when it is their turn.
 */
import type { Command, Option } from "commander";
import type { Io } from "../io.ts";
import { listAll, type ListedKind } from "../resolve.ts";
import { contextOf } from "./shared.ts";

/** Words of arguments and options behind which an id or a name stands, and of what. */
const kinds: Readonly<Record<string, ListedKind>> = {
  instance: "instance",
  host: "host",
  key: "key",
  group: "group",
  image: "image",
  disk: "disk",
  snapshot: "snapshot",
  vpc: "vpc",
  subnet: "subnet",
  "route-table": "routeTable",
  "nat-gateway": "natGateway",
  "security-group": "securityGroup",
  address: "elasticAddress",
};
const words = Object.keys(kinds);
/** `--disk` is a size, and `--address` one of a machine's own. */
const wordOptions = words.filter((word) => word !== "disk" && word !== "address").map((word) => `--${word}`);

export function addCompletion(program: Command, io: Io): void {
  const completion = program.command("completion").description("completion for shells");
  completion
    .command("bash")
    .description("print the script: add `source <(vstation completion bash)` to ~/.bashrc")
    .action(() => io.out(bashScript(program)));
  completion
    .command("names", { hidden: true })
    .argument("<kind>")
    .action(async (word: string, _flags: unknown, command: Command) => {
      const kind = Object.hasOwn(kinds, word) ? kinds[word] : undefined;
      if (kind === undefined) return;
      const things: readonly { id: string; name: string }[] = await listAll(contextOf(io, command).client, kind);
      // Only what a shell takes as one plain word.
      const names = things.flatMap(({ id, name }) => [id, name]).filter((one) => /^[\w.-]+$/.test(one));
      io.out(names.map((name) => `${name}\n`).join(""));
    });
}

/** One line per command: its path, its words, and what its argument or its option's value is. */
export function bashScript(program: Command): string {
  const cases: string[] = [];
  const valued = new Set<string>();
  const globals = program.options.flatMap(flagsOf);
  const visit = (command: Command, path: readonly string[]): void => {
    const commands = shownIn(command).flatMap((one) => [one.name(), ...one.aliases()]);
    const options = [...command.options.flatMap(flagsOf), ...globals, "--help"];
    const kind = words.find((one) => command.registeredArguments[0]?.name() === one);
    const name = kind === undefined ? "" : ` kind=${kind};`;
    cases.push(`    "${path.join(" ")}") words="${[...commands, ...new Set(options)].join(" ")}";${name} ;;`);
    for (const option of [...command.options, ...program.options]) {
      if (option.required) for (const flag of flagsOf(option)) valued.add(flag);
    }
    for (const child of shownIn(command)) {
      for (const word of [child.name(), ...child.aliases()]) visit(child, [...path, word]);
    }
  };
  visit(program, []);
  return `# Completion of vstation for bash.
_vstation() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path="" word words="" kind="" skip="" home=()
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $skip == home ]]; then home=(--home "$word"); fi
    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$word" in
      --home) skip=home ;;
      ${[...valued].filter((flag) => flag !== "--home").join("|")}) skip=value ;;
      -*) ;;
      *) path="$path\${path:+ }$word" ;;
    esac
  done
  case "$prev" in
    --home|--user-data|--out|--bundle) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    ${wordOptions.join("|")}) kind=\${prev#--} ;;
    ${[...valued].filter((flag) => !special.has(flag)).join("|")}) return ;;
  esac
  if [[ -z $kind ]]; then
    # Arguments follow the command: the longest beginning of what was typed that is one.
    while :; do
      case "$path" in
${cases.map((line) => `    ${line}`).join("\n")}
      esac
      [[ -n $words || $path != *" "* ]] && break
      path=\${path% *}
    done
  fi
  [[ $cur == -* ]] && kind=""
  [[ -z $kind ]] || words="$words $(vstation "\${home[@]}" completion names "$kind" 2>/dev/null)"
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -F _vstation vstation ./vstation
`;
}

const special = new Set(["--home", "--user-data", "--out", "--bundle", ...wordOptions]);

function shownIn(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

function flagsOf(option: Option): string[] {
  return [option.short, option.long].filter((flag) => flag !== undefined && flag !== null);
}
