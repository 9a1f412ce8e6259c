#!/usr/bin/env bash
# Tasks in Bash, with jq: a task is a function that leaves JSON in $result, or fails with words in $message.
# reproq worker --executor ./bash.sh --allow-tasks tasks.

tasks.greet() { result=$(jq '"Hello, " + .args[0]' <<<"$spec"); }

conformance.echo() { result=$(jq '.args[0]' <<<"$spec"); }
conformance.fail() { message=$(jq -r '.args[0]' <<<"$spec"); return 1; }
conformance.exit() { exit "$(jq '.args[0]' <<<"$spec")"; }
conformance.wait() { echo waiting; sleep 600 & wait $!; }

# Descriptor 3 takes one line; what is printed to stdout and stderr is the log.
answer() { jq -cn "$@" >&3; }
fail() { answer --arg class "$1" --arg message "$2" '{ok: false, exception_class: $class, message: $message}'; exit 1; }
trap 'fail Terminated "The worker stopped the run"' TERM

while (($#)); do
  case $1 in
    --payload-stdin) spec=$(cat) ;;
    --payload-file) spec=$(<"$2") ;;
  esac
  shift
done
task=$(jq -r '.task_path' <<<"$spec") || fail PayloadError "The payload is not JSON"
[[ $(type -t "$task") == function && $task == *.* ]] || fail UnknownTask "There is no task $task"
"$task" || fail TaskFailed "${message:-It failed}"
answer --argjson result "${result:-null}" '{ok: true, return: $result}'
