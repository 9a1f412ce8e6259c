import { CONFIG_FILES } from './settings-files.js'

/** A file that `reproq init` would make. */
export interface NewFile {
  path: string
  text: string
  /** The same in another form: where one of them is, this one is not made. */
  others: string[]
}

export interface Kind {
  javascript: boolean
  /** What package.json says of its .js files. */
  isModule: boolean
}

const TASK_FILES = ['tasks/hello.ts', 'tasks/hello.js']

/** A first task, and the settings that make the worker load it. */
export function newFiles({ javascript, isModule }: Kind): NewFile[] {
  const task = javascript ? 'tasks/hello.js' : 'tasks/hello.ts'
  const config = javascript ? 'reproq.config.mjs' : 'reproq.config.ts'
  return [
    { path: task, text: javascript ? javaScriptTask(isModule) : TYPESCRIPT_TASK, others: TASK_FILES.filter((path) => path !== task) },
    { path: config, text: configFor(javascript ? 'tasks/*.js' : 'tasks/*.ts'), others: CONFIG_FILES.filter((path) => path !== config) },
  ]
}

const TYPESCRIPT_TASK = `import { defineTask, type TaskContext } from 'reproq'

export const hello = defineTask({
  name: 'hello',
  run({ input }: TaskContext<{ name: string }>) {
    return \`Hello, \${input.name}!\`
  },
})
`

/** A .js file of a package that is not a module cannot import in every supported Node. */
function javaScriptTask(isModule: boolean): string {
  const [load, name] = isModule ? ["import { defineTask } from 'reproq'", 'export const hello'] : ["const { defineTask } = require('reproq')", 'exports.hello']
  return `${load}

${name} = defineTask({
  name: 'hello',
  run({ input }) {
    return \`Hello, \${input.name}!\`
  },
})
`
}

function configFor(tasks: string): string {
  return `import { defineConfig } from 'reproq/config'

export default defineConfig({ worker: { tasks: ['${tasks}'] } })
`
}
