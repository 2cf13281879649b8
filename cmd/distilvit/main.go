// Command distilvit trains small image captioners (a ViT encoder, a GPT-2
// decoder with cross-attention) as Temporal workflows and ships them as
// quantized ONNX for Transformers.js. Each subcommand has its file, cmd_*.go;
// the code here only wires packages together. Start reading at cmd_run.go.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"distilvit/internal/version"
	"distilvit/pipeline"
)

// Exit codes of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv}
	os.Exit(a.main(context.Background(), os.Args[1:]))
}

// app is what every command needs of the process, so that tests can replace it.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string

	dataFlag    string // --data as given
	output      string // -o: text or json
	verbose     bool
	logFormat   string // --log-format: text or json
	profile     string // --profile
	stopProfile func()
	started     bool // arguments were accepted: from here on an error is a failure, not wrong usage
}

// main runs one command line and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	a.stopProfile = func() {}
	cmd, err := root.ExecuteContextC(ctx)
	a.stopProfile()
	if err == nil {
		return exitDone
	}
	var usage *usageError
	if !a.started && !errors.As(err, &usage) {
		err = &usageError{err: err}
	}
	return a.report(cmd, err)
}

// report prints an error in one line (a config's mistakes: one line each) and
// says which exit code it means.
func (a *app) report(cmd *cobra.Command, err error) int {
	var quiet *quietError
	if errors.As(err, &quiet) {
		return exitFailed
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted) {
		err = errInterrupted // whatever was under way
	}
	code, text := exitFailed, failureText(err)
	var usage *usageError
	var config *pipeline.ConfigError
	if errors.As(err, &usage) || errors.As(err, &config) {
		code, text = exitUsage, err.Error()
	}
	if usage != nil && usage.help {
		text += fmt.Sprintf(" (see %s --help)", cmd.CommandPath())
	}
	if code == exitUsage { // a line for each mistake
		text = strings.ReplaceAll(text, "\n", "\ndistilvit: ")
	}
	fmt.Fprintf(a.stderr, "distilvit: %s\n", text)
	return code
}

// usageError is a mistake on the command line: exit code 2.
type usageError struct {
	err  error
	help bool // the command's help would say more
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// quietError ends a command with exit code 1 after it has already said why.
type quietError struct{ err error }

func (e *quietError) Error() string { return e.err.Error() }

// rootCommand is the whole command line.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "distilvit",
		Version: version.Program(),
		Short:   "train small image captioners and ship them as ONNX",
		Long: `distilvit trains small image captioners (a ViT encoder and a GPT-2 decoder with
cross-attention) and ships them as quantized ONNX that runs in a web page
through Transformers.js. A run is one Temporal workflow: it survives any crash
and goes on from the exact step.

Without further set-up everything runs in this process, with its state under
--data. With TEMPORAL_ADDRESS and S3_ENDPOINT set, a Temporal server and an
object store elsewhere are used; see distilvit worker --help.`,
		Example: `  distilvit backend install cpu
  distilvit run -f examples/demo.yaml --id demo
  distilvit caption -m demo picture.png`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if a.output != "text" && a.output != "json" {
				return usagef("-o %s: use text or json", a.output)
			}
			a.logFormat = cmp.Or(a.logFormat, a.env("DISTILVIT_LOG_FORMAT"), "text")
			if a.logFormat != "text" && a.logFormat != "json" {
				return usagef("--log-format %s: use text or json", a.logFormat)
			}
			a.started = true
			if err := a.readSecretFiles(); err != nil {
				return err
			}
			return a.startProfile(cmd)
		},
	}
	root.PersistentFlags().StringVar(&a.dataFlag, "data", "",
		"directory of the embedded stack's state (default $DISTILVIT_DATA, else .distilvit)")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "how results are printed: text or json")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false,
		"print the log to stderr instead of a file")
	root.PersistentFlags().StringVar(&a.logFormat, "log-format", "",
		"how lines of the log are written: text or json (default $DISTILVIT_LOG_FORMAT, else text)")
	root.PersistentFlags().StringVar(&a.profile, "profile", "",
		"write a CPU profile for go tool pprof to this file, and those of trainers to FILE.trainer.PID")
	root.Args = func(cmd *cobra.Command, given []string) error { return unknownCommand(cmd, given) }
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, help: true}
	})
	root.AddCommand(
		a.runCommand(), a.sweepCommand(), a.tuneCommand(), a.scheduleCommand(), a.upCommand(), a.workerCommand(),
		a.listCommand(), a.statusCommand(), a.stopCommand(), a.pauseCommand(), a.resumeCommand(),
		a.extendCommand(), a.approveCommand(), a.rejectCommand(),
		a.logsCommand(), a.getCommand(), a.pushCommand(), a.badCommand(), a.lsCommand(), a.catCommand(),
		a.rmCommand(), a.janitorCommand(), a.recoverCommand(), a.migrateCommand(),
		a.codecServerCommand(),
		a.initCommand(), a.inspectCommand(), a.captionCommand(), a.serveCommand(),
		a.evaluateCommand(), a.metricsCommand(), a.compareCommand(),
		a.parityCommand(), a.exportCommand(),
		a.tokenizeCommand(), a.preprocessCommand(),
		a.benchCommand(), a.doctorCommand(), a.backendCommand(), a.versionCommand(),
		a.manCommand(), a.trainerCommand(), a.s3dCommand(),
	)
	root.SetHelpCommand(a.helpCommand())
	a.complete(root)
	return root
}

// helpCommand is cobra's, except that a command which is not there is a mistake.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "help for any command",
		Example: "  distilvit help run",
		ValidArgsFunction: func(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if found, _, err := cmd.Root().Find(given); err == nil {
				for _, sub := range found.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name())
					}
				}
			}
			return beginning(begun, names), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			found, rest, err := cmd.Root().Find(given)
			if err != nil || len(rest) > 0 {
				return unknownCommand(found, rest)
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// unknownCommand says in one line that a command has none of that name, and which may be meant.
func unknownCommand(cmd *cobra.Command, given []string) error {
	if len(given) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", given[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2 // letters that differ
	if near := cmd.SuggestionsFor(given[0]); len(near) > 0 {
		text += ": did you mean " + strings.Join(near, " or ") + "?"
	}
	return &usageError{err: errors.New(text), help: true}
}

// args accepts between least and most positional arguments; most < 0: any number.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		switch {
		case len(got) < least:
			return &usageError{err: fmt.Errorf("%s needs %s", cmd.Name(), what), help: true}
		case most >= 0 && len(got) > most:
			return &usageError{
				err: fmt.Errorf("%s: unexpected argument %q", cmd.Name(), got[most]), help: true,
			}
		}
		return nil
	}
}

// dataDir is the absolute directory of the embedded stack's state.
func (a *app) dataDir() (string, error) {
	dir := a.dataFlag
	if dir == "" {
		dir = a.env("DISTILVIT_DATA")
	}
	if dir == "" {
		dir = ".distilvit"
	}
	return filepath.Abs(dir)
}

// interruptible gives a context that ends at the first Ctrl-C or SIGTERM; the
// second ends the process at once. said is printed at the first.
func (a *app) interruptible(ctx context.Context, said string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		if said != "" {
			fmt.Fprintf(a.stderr, "\n%s\n", said)
		}
		cancel(errInterrupted)
		select {
		case <-signals:
			os.Exit(exitFailed)
		case <-done:
		}
	}()
	stop := func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
	return ctx, stop
}

// errInterrupted is the cause of a context that Ctrl-C ended.
var errInterrupted = errors.New("interrupted")
