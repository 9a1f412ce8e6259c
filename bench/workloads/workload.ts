import type { Cost } from '../measure.js'
import type { Setting } from '../rig.js'
import type { System } from '../systems/system.js'

/** One measurement: figures by name, and what they cost where that is told per task. */
export interface Outcome {
  figures: Record<string, number>
  tasks?: number
  cost?: Cost
  /** Why there are no figures. */
  failure?: string
}

/** One system on a fresh database, in one case of a workload. */
export interface Cell {
  setting: Setting
  system: System
  /** One of the workload's cases. */
  variation: string
  quick: boolean
}

export interface Workload {
  name: string
  /** A sentence for the report. */
  about: string
  /** What varies inside it; one entry when nothing does. The first is what the others are compared with. */
  variations(quick: boolean): readonly string[]
  /** The figure by which systems, and cases, are compared. */
  compared: string
  /** Systems that can take part, besides us and raw SQL. */
  peers: 'all' | readonly string[]
  run(cell: Cell): Promise<Outcome>
  /** The same done by bare SQL. */
  raw?(cell: Omit<Cell, 'system'>): Promise<Outcome>
}

/** For a workload in which nothing varies. */
export const ONE = () => ['']
