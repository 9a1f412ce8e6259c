// Tasks in Go: a task takes the arguments as JSON and returns what JSON can express, or an error.
// go build -o run go.go && reproq worker --executor ./run --allow-tasks tasks.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type args []json.RawMessage

var tasks = map[string]func(args) (any, error){
	"tasks.greet":      func(a args) (any, error) { return "Hello, " + text(a), nil },
	"conformance.echo": func(a args) (any, error) { return a[0], nil },
	"conformance.fail": func(a args) (any, error) { return nil, errors.New(text(a)) },
	"conformance.exit": func(a args) (any, error) { os.Exit(number(a)); return nil, nil },
	"conformance.wait": func(a args) (any, error) { fmt.Println("waiting"); time.Sleep(10 * time.Minute); return nil, nil },
}

func text(a args) (value string) { _ = json.Unmarshal(a[0], &value); return }
func number(a args) (value int)  { _ = json.Unmarshal(a[0], &value); return }

func main() {
	// Descriptor 3 takes one line; what is printed to stdout and stderr is the log.
	channel := os.NewFile(3, "result")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	done := make(chan map[string]any, 1)
	go func() { done <- run() }()
	var envelope map[string]any
	select {
	case envelope = <-done:
	case <-stop:
		envelope = failure("Terminated", errors.New("the worker stopped the run"))
	}
	line, err := json.Marshal(envelope)
	if err != nil {
		line, _ = json.Marshal(failure("InvalidOutput", err))
	}
	_, _ = channel.Write(append(line, '\n'))
	if envelope["ok"] != true {
		os.Exit(1)
	}
}

func run() map[string]any {
	var spec struct {
		TaskPath string `json:"task_path"`
		Args     args   `json:"args"`
	}
	if err := json.Unmarshal(payload(), &spec); err != nil {
		return failure("PayloadError", err)
	}
	task := tasks[spec.TaskPath]
	if task == nil {
		return failure("UnknownTask", fmt.Errorf("there is no task %s", spec.TaskPath))
	}
	value, err := task(spec.Args)
	if err != nil {
		return failure("TaskFailed", err)
	}
	return map[string]any{"ok": true, "return": value}
}

func payload() []byte {
	for at, flag := range os.Args {
		if flag == "--payload-file" && at+1 < len(os.Args) {
			text, _ := os.ReadFile(os.Args[at+1])
			return text
		}
	}
	text, _ := io.ReadAll(os.Stdin)
	return text
}

func failure(class string, err error) map[string]any {
	return map[string]any{"ok": false, "exception_class": class, "message": err.Error()}
}
