/** Microseconds of the machine's monotonic clock: the same in every process, so that times of different processes may be subtracted. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n)
}
