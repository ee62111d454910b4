// An unmodified Go worker and client against the real binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const queue = "hello"

func greet(ctx context.Context, name string) (string, error) {
	if activity.GetInfo(ctx).Attempt == 1 {
		return "", errors.New("the first attempt always fails")
	}
	return "Hello, " + name + "!", nil
}

func hello(ctx workflow.Context, name string) (string, error) {
	stage := "greeting"
	if err := workflow.SetQueryHandler(ctx, "stage", func() (string, error) { return stage, nil }); err != nil {
		return "", err
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond},
	})
	var greeting string
	if err := workflow.ExecuteActivity(ctx, greet, name).Get(ctx, &greeting); err != nil {
		return "", err
	}
	stage = "sleeping"
	if err := workflow.Sleep(ctx, 200*time.Millisecond); err != nil {
		return "", err
	}
	stage = "approval"
	workflow.GetSignalChannel(ctx, "approve").Receive(ctx, nil)
	stage = "done"
	return greeting, nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func dial(address string) (client.Client, error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := client.Dial(client.Options{HostPort: address, Logger: quiet{}})
		if err == nil || time.Now().After(deadline) {
			return c, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

type quiet struct{}

func (quiet) Debug(string, ...interface{})                {}
func (quiet) Info(string, ...interface{})                 {}
func (quiet) Warn(message string, fields ...interface{})  { log.Println("WARN", message, fields) }
func (quiet) Error(message string, fields ...interface{}) { log.Println("ERROR", message, fields) }

func run(binary string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	server := exec.Command(binary, "server", "start-dev", "--port", fmt.Sprint(port), "--headless")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	}()
	c, err := dial(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer c.Close()
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflow(hello)
	w.RegisterActivity(greet)
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	handle, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "hello-go", TaskQueue: queue}, hello, "Go")
	if err != nil {
		return err
	}
	for stage := ""; stage != "approval"; time.Sleep(20 * time.Millisecond) {
		value, err := c.QueryWorkflow(ctx, handle.GetID(), handle.GetRunID(), "stage")
		if err != nil {
			return err
		}
		if err := value.Get(&stage); err != nil {
			return err
		}
	}
	if err := c.SignalWorkflow(ctx, handle.GetID(), "", "approve", nil); err != nil {
		return err
	}
	var result string
	if err := handle.Get(ctx, &result); err != nil {
		return err
	}
	if result != "Hello, Go!" {
		return fmt.Errorf("unexpected result %q", result)
	}
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflow(hello)
	if err := replayer.ReplayWorkflowExecution(ctx, c.WorkflowService(), quiet{}, "default", workflow.Execution{ID: handle.GetID(), RunID: handle.GetRunID()}); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	fmt.Println("go: hello with retry, timer, signal and query, replayed: ok")
	return nil
}

func main() {
	if err := run(os.Args[1]); err != nil {
		log.Fatal("go: ", err)
	}
}
