/** One way to set a system up. The first of a system is the one that was found best; --tune tries them all. */
export interface Variant {
  /** As the report says it. */
  label: string
  settings: Record<string, number>
}

/** A queue that takes part: how to start it, and how to know that nothing is left to do. */
export interface System {
  /** What the tables of the report and --peers call it. */
  name: string
  /** Its module in players/. */
  player: string
  /** npm package of a peer; none: it is us. */
  package?: string
  /** A broker process of ours stands between its processes and Postgres. */
  hasBroker: boolean
  variants: Variant[]
  /** True while a task is not yet durably done. */
  unfinishedSql: string
  /** Runs kept with their results; none: finished ones are deleted. */
  keptSql?: string
  /** Statements that put $1 tasks into an empty system: ready ones, or ones that are due in a day and would then go first. */
  fillSql?: { ready: string; future: string }
  /** Share of a workload's tasks that is enough: slow systems would take minutes for what others do in seconds. */
  share: number
}
