// Runs the scenarios for the Go SDK, all at once, against the server that listens at an address. Any server will do,
// the official one too: that is how the scenarios themselves are checked.
//
//	go run ./scenarios 127.0.0.1:7233               what a developer's server says
//	go run ./scenarios 127.0.0.1:7233 --rough       nodes are being killed meanwhile
//	go run ./scenarios 127.0.0.1:7233 --only a,b    some scenarios only
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"
)

const (
	clientsCount = 3
	atOnce       = 16
	stackMax     = 1500
)

// The SDK reports what scenarios provoke; only the assertions matter here.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

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

func runOne(name string, clients []client.Client, index int, calm bool) (replayed int, err error) {
	patience := 90 * time.Second
	if !calm {
		patience = 150 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	unique := name + "-" + uuid.NewString()[:8]
	// Client and worker come in through different connections: with several nodes, through different nodes.
	e := &env{
		name: name, unique: unique, queue: unique, calm: calm, ctx: ctx, workflows: named{},
		client: clients[index%clientsCount], workerClient: clients[(index+1)%clientsCount],
	}
	defer func() {
		if reason := recover(); reason != nil {
			stack := string(debug.Stack())
			if where := strings.Index(stack, "/scenarios/"); where > 0 {
				stack = stack[where:]
			}
			err = fmt.Errorf("%v\n%.*s", reason, stackMax, stack)
		}
	}()
	registry[name](e)
	e.checkRuns()
	return e.replayed, nil
}

func onePass(names []string, clients []client.Client, calm, verbose bool) (replayed int, failed []string) {
	room := make(chan struct{}, atOnce)
	var lock sync.Mutex
	var all sync.WaitGroup
	for index, name := range names {
		all.Add(1)
		room <- struct{}{}
		go func() {
			defer all.Done()
			begun := time.Now()
			runs, err := runOne(name, clients, index, calm)
			<-room
			lock.Lock()
			defer lock.Unlock()
			replayed += runs
			if err != nil {
				failed = append(failed, name)
				fmt.Fprintf(os.Stderr, "go: scenario %s failed: %v\n", name, err)
			} else if verbose {
				fmt.Printf("  %s: %d runs, %.1f s\n", name, runs, time.Since(begun).Seconds())
			}
		}()
	}
	all.Wait()
	return replayed, failed
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: scenarios ADDRESS [--rough] [--seconds N] [--verbose] [--only NAME,NAME]")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("scenarios", flag.ExitOnError)
	rough := flags.Bool("rough", false, "nodes are killed meanwhile: an attempt may be lost")
	seconds := flags.Int("seconds", 0, "begin another pass until so much time is over")
	verbose := flags.Bool("verbose", false, "one line for each scenario")
	only := flags.String("only", "", "names, with commas between them")
	_ = flags.Parse(os.Args[2:])
	names := []string{}
	for name := range registry {
		if *only == "" || strings.Contains(","+*only+",", ","+name+",") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	clients := []client.Client{}
	for range clientsCount {
		c, err := dial(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, "go:", err)
			os.Exit(1)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	begun := time.Now()
	passes, replayed := 0, 0
	for passes == 0 || time.Since(begun) < time.Duration(*seconds)*time.Second {
		runs, failed := onePass(names, clients, !*rough, *verbose)
		passes, replayed = passes+1, replayed+runs
		if len(failed) > 0 {
			sort.Strings(failed)
			fmt.Printf("go: %d of %d scenarios failed: %s\n", len(failed), len(names), strings.Join(failed, " "))
			os.Exit(1)
		}
	}
	took := time.Since(begun).Seconds()
	fmt.Printf("go: %d scenarios, %d passes, %d runs replayed, %.0f s: ok\n", len(names), passes, replayed, took)
}
