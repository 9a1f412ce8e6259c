/** What a command ends with: code, sentence with the real values, fix. `explain` prints it. */
export function failure(code: string, message: string, hint: string): Error {
  return Object.assign(new Error(message), { code, hint })
}
