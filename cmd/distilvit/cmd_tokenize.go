package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"distilvit/hub"
	"distilvit/model/tokenizer"
)

func (a *app) tokenizeCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "tokenize -m MODEL",
		Short: "captions on stdin to token ids on stdout",
		Long: `Read one JSON string a line from stdin and print one JSON array of token ids a
line. MODEL needs only the tokenizer's files.`,
		Example: `  echo '"a red circle"' | distilvit tokenize -m demo`,
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withModelDir(cmd.Context(), name, hub.TokenizerFiles, a.tokenize)
		},
	}
	modelFlag(cmd, &name)
	return cmd
}

func (a *app) tokenize(_ context.Context, dir string) error {
	t, err := tokenizer.Load(dir)
	if err != nil {
		return err
	}
	in := bufio.NewReader(a.stdin)
	out := bufio.NewWriter(a.stdout)
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read stdin: %w", err)
		}
		if end := err == io.EOF; len(bytes.TrimSpace(line)) == 0 {
			if end {
				return out.Flush()
			}
			continue
		}
		var text string
		if err := json.Unmarshal(line, &text); err != nil {
			_ = out.Flush()
			return fmt.Errorf("stdin, line %d: not a JSON string", number)
		}
		ids := t.Encode(text)
		if ids == nil {
			ids = []int32{}
		}
		if err := printLine(out, ids); err != nil {
			return err
		}
	}
}
