/** Variables every executor gets. A trailing `*` makes a name a prefix. */
const USUAL = [
  'PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LANGUAGE', 'LC_*', 'TZ', 'TMPDIR', 'TMP', 'TEMP',
  'PYTHON*', 'PYENV_*', 'VIRTUAL_ENV', 'CONDA_PREFIX', 'LD_LIBRARY_PATH', 'SSL_CERT_FILE', 'SSL_CERT_DIR',
  'DJANGO_SETTINGS_MODULE', 'DJANGO_CONFIGURATION', 'NODE_ENV', 'NODE_EXTRA_CA_CERTS',
]

/** Credentials of the worker and of the database: no prefix passes them on, only their exact name. */
const PRIVATE = new Set(['REPROQ_TOKEN', 'REPROQ_DATABASE_URL', 'DATABASE_URL'])

/**
 * The environment of an executor: the usual variables, those in `allowed` on top, then `extra` as it is. Everything else
 * the worker knows stays with the worker.
 */
export function childEnvironment(own: NodeJS.ProcessEnv, allowed: readonly string[], extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const patterns = [...USUAL, ...allowed]
  const passed = Object.entries(own).filter(([name]) => patterns.some((pattern) => passes(name, pattern)))
  return { ...Object.fromEntries(passed), ...extra }
}

function passes(name: string, pattern: string): boolean {
  if (!pattern.endsWith('*')) return name === pattern
  return !PRIVATE.has(name) && name.startsWith(pattern.slice(0, -1))
}
