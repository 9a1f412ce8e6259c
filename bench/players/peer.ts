import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** A package of the bench's cache. What of it we use is declared by the caller. */
export async function peer<Module>(cache: string, name: string): Promise<Module> {
  const path = createRequire(join(cache, 'package.json')).resolve(name)
  return (await import(pathToFileURL(path).href)) as Module
}
