import { Client, type ReproqOptions } from './client.js'
import { openFetch } from './transport-fetch.js'

/** Everything but Node's own transport: what browsers, edge runtimes and bundlers for them are given. */
export { defineTask, isTask, type Parent, type Task, type TaskContext, type TaskDefinition, type TaskLog } from './define-task.js'
export { defineSchedule, isSchedule, type ScheduleDefinition, type ScheduledTask } from './define-schedule.js'
export type { Schedules } from './schedules.js'
export { remoteTask, type RemoteTaskOptions } from './remote-task.js'
export type { Call, InputOf, OutputOf, TaskReference } from './task-reference.js'
export type { AsJson } from './as-json.js'
export type { Issue, StandardSchema } from './standard-schema.js'
export { durationMs, type Duration } from './duration.js'
export { float } from './float.js'
export type { KeyOf, RetryOptions, RunControls } from './run-options.js'
export * from './errors.js'
export type { EnqueueOptionsWithTransaction, Item, ListOptions, Outcomes, ReproqOptions, WorkflowOptionsWithTransaction } from './client.js'
export type { RunFilter } from './run-filter.js'
export type { Operations, OperationRequest } from './operations.js'
export type { Limits } from './limits.js'
export type { Queues } from './queues.js'
export type { Tasks } from './tasks.js'
export type { Workers } from './workers.js'
export type { EnqueueOptions } from './enqueue-request.js'
export type { RunHandle, Settled, WaitOptions } from './run-handle.js'
export { step, type Step, type StepOptions, type StepOutput, type WorkflowOptions } from './workflow.js'
export type { WorkflowHandle } from './workflow-handle.js'
export type { WorkflowFilter, Workflows } from './workflows.js'
export type { RunEvent } from './run-events.js'
export type { LogOptions } from './run-logs.js'
export type { SqlClient } from './pg.js'
export type { Limit, LimitRequest, LimitUnit } from '../../protocol/src/rest-limits.js'
export type { Schedule, ScheduleList, ScheduleSummary, SyncedSchedules } from '../../protocol/src/schedules.js'
export type { CancelResult, LogEntry, RetryPolicy, Run, RunFailure, RunList, RunProgress, RunSummary, Status, Workflow, WorkflowList, WorkflowRun, WorkflowStatus, WorkflowSummary } from '../../protocol/src/rest.js'

export type { Operation, OperationCount, QueueControl, QueueState, RetireResult, RunOutcome, TaskState, WorkerState } from '../../protocol/src/rest-operations.js'

/** The client of a broker over `fetch`. */
export class Reproq extends Client {
  constructor(options: ReproqOptions = {}) {
    super(options, openFetch)
  }
}
