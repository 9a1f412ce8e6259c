let ready: Promise<void> | undefined

/** After it `import()` takes TypeScript. Node's own type stripping where it has one; tsx is loaded only when it is needed: it costs more than most task files. */
export function readyForTypeScript(): Promise<void> {
  const native = 'typescript' in process.features && Boolean(process.features.typescript)
  ready ??= native ? Promise.resolve() : registerTsx()
  return ready
}

async function registerTsx(): Promise<void> {
  const [esm, commonJs] = await Promise.all([import('tsx/esm/api'), import('tsx/cjs/api')])
  esm.register()
  // Without `"type": "module"` beside it, a .ts file is CommonJS.
  commonJs.register()
}
