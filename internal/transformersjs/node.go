package transformersjs

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
)

// underNode runs node.mjs.
func (r Runner) underNode(ctx context.Context, scripts string, models []string, work []Work, each func(Line)) error {
	job, err := json.Marshal(map[string]any{
		"library": r.Library.Module, "version": r.Library.major(), "models": models, "work": work,
	})
	if err != nil {
		return err
	}
	out, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(r.Node, filepath.Join(scripts, "node.mjs"))
	cmd.Stdin, cmd.Stdout = bytes.NewReader(job), w
	p, err := start(cmd)
	w.Close()
	if err != nil {
		return err
	}
	defer p.kill()
	lines, over := make(chan Line), make(chan struct{})
	defer close(over)
	go func() {
		defer close(lines)
		for d := json.NewDecoder(out); ; {
			var l Line
			if d.Decode(&l) != nil {
				return // its end, or what no line is: its exit status tells
			}
			select {
			case lines <- l:
			case <-over:
				return
			}
		}
	}()
	if err := p.follow(ctx, r.Silence, lines, nil, each); err != nil {
		return err
	}
	return p.ended(ctx, r.Silence)
}
