// The Go driver: see ../README.md. Through the small client; by the generated stub on gRPC's own
// channel for load --stock.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	_ "placet.dev/go/xds"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(2)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("say golden, load or subscribe")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	target := flags.String("target", "", "where the server is")
	var command func() error
	switch arguments[0] {
	case "golden":
		command = func() error { return golden(*target) }
	case "load":
		request := flags.String("request", "", "what to ask, as JSON")
		concurrency := flags.Int("concurrency", 8, "how many workers")
		pauseMS := flags.Float64("pause-ms", 2, "between two calls of a worker")
		deadlineMS := flags.Float64("deadline-ms", 2000, "of a call")
		durationS := flags.Float64("duration-s", 10, "of all of it")
		stock := flags.Bool("stock", false, "by the generated stub alone")
		command = func() error {
			return load(*target, loading{
				request:     *request,
				concurrency: *concurrency,
				pause:       span(*pauseMS, time.Millisecond),
				deadline:    span(*deadlineMS, time.Millisecond),
				duration:    span(*durationS, time.Second),
				stock:       *stock,
			})
		}
	case "subscribe":
		tenant := flags.String("tenant", "", "whose policies")
		command = func() error { return subscribe(*target, *tenant) }
	default:
		return fmt.Errorf("there is no command `%s`; say golden, load or subscribe", arguments[0])
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	return command()
}

func span(count float64, unit time.Duration) time.Duration {
	return time.Duration(count * float64(unit))
}

// untilInputEnds returns a context that ends with standard input.
func untilInputEnds(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx, cancel
}
