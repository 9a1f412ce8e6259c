import { Argument, type Command } from 'commander'
import type { CommandEntry } from './commands.js'
import { completionsOf } from './completions.js'
import { write } from './output.js'

/** Each asks the command itself, with the words so far, so that what is offered is what this version has and the broker knows. */
const SCRIPTS = {
  bash: `_reproq() {
  COMPREPLY=()
  local line
  while IFS= read -r line; do COMPREPLY+=("$(printf %q "$line")"); done < <("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _reproq reproq
`,
  zsh: `#compdef reproq
_reproq() {
  local -a found
  found=("\${(@f)$("$words[1]" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$found[1]" ]]; then compadd -a found; else _files; fi
}
compdef _reproq reproq
`,
  fish: `complete -c reproq -f -a '(reproq __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
}
type Shell = keyof typeof SCRIPTS

/** `reproq completion`: a script for the shell, on stdout. */
export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .description('Print what the shell needs to complete commands, options, and the names of queues, tasks, schedules and workers.')
    .addArgument(new Argument('<shell>', 'yours').choices(Object.keys(SCRIPTS)))
    .addHelpText('after', '\nExamples:\n  source <(reproq completion bash)                                  in ~/.bashrc; zsh: in ~/.zshrc, after compinit\n  reproq completion fish > ~/.config/fish/completions/reproq.fish')
    .action((shell: Shell) => write(SCRIPTS[shell]))
}

/** `reproq __complete -- …`: what may stand in place of the last word, a line each. */
export function registerComplete(commands: readonly CommandEntry[]): (program: Command) => void {
  return (program) =>
    program
      .command('__complete', { hidden: true })
      .argument('[words...]')
      .action(async (words: string[]) => {
        const found = await completionsOf(words, commands)
        // A broker that has not answered yet keeps nobody waiting.
        process.stdout.write(found.map((one) => `${one}\n`).join(''), () => process.exit(0))
      })
}
