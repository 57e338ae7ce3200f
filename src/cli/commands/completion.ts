/**
 * `completion bash`: commands and options come from the tree of commands, so that completion answers at once and knows what
 * this release knows; names of instances, hosts and keys are asked for when it is their turn.
 */
import type { Command, Option } from "commander";
import type { Io } from "../io.ts";
import { allGroups, allHosts, allInstances, allKeys } from "../resolve.ts";
import { contextOf } from "./shared.ts";

const kinds = ["instance", "host", "key", "group"] as const;
type Kind = (typeof kinds)[number];

export function addCompletion(program: Command, io: Io): void {
  const completion = program.command("completion").description("completion for shells");
  completion
    .command("bash")
    .description("print the script: add `source <(vstation completion bash)` to ~/.bashrc")
    .action(() => io.out(bashScript(program)));
  completion
    .command("names", { hidden: true })
    .argument("<kind>")
    .action(async (kind: string, _flags: unknown, command: Command) => {
      const { client } = contextOf(io, command);
      const found = kinds.find((one) => one === kind);
      if (found === undefined) return;
      const names = await namesOf(found, () => client);
      io.out(names.map((name) => `${name}\n`).join(""));
    });
}

async function namesOf(kind: Kind, client: () => Parameters<typeof allHosts>[0]): Promise<string[]> {
  const things = await { instance: allInstances, host: allHosts, key: allKeys, group: allGroups }[kind](client());
  // Only what a shell takes as one plain word.
  return things.flatMap(({ id, name }) => [id, name]).filter((word) => /^[\w.-]+$/.test(word));
}

/** One line per command: its path, its words, and what its argument or its option's value is. */
export function bashScript(program: Command): string {
  const cases: string[] = [];
  const valued = new Set<string>();
  const globals = program.options.flatMap(flagsOf);
  const visit = (command: Command, path: readonly string[]): void => {
    const commands = shownIn(command).flatMap((one) => [one.name(), ...one.aliases()]);
    const options = [...command.options.flatMap(flagsOf), ...globals, "--help"];
    const kind = kinds.find((one) => command.registeredArguments[0]?.name() === one);
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
    --instance|--host|--key|--group) kind=\${prev#--} ;;
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

const special = new Set(["--home", "--user-data", "--out", "--bundle", "--instance", "--host", "--key", "--group"]);

function shownIn(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

function flagsOf(option: Option): string[] {
  return [option.short, option.long].filter((flag) => flag !== undefined && flag !== null);
}
