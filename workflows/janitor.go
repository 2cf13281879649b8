package workflows

import (
	"cmp"
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// Janitor removes from the bucket what nothing refers to, page by page. How that
// is safe beside runs is package retention's matter.
func Janitor(ctx workflow.Context, in pipeline.JanitorInput) (*pipeline.JanitorResult, error) {
	result := &pipeline.JanitorResult{
		DryRun: in.DryRun, Grace: cmp.Or(in.Grace, pipeline.DefaultGrace), Removed: []pipeline.Removed{},
	}
	nobody := &run{spent: spentIDs{}} // no run is paused here
	cursor := ""
	for page := 1; ; page++ {
		got, err := call[pipeline.JanitorPage](ctx, nobody, sweepPage, fmt.Sprintf("sweep-%d", page),
			cmp.Or(cursor, "the beginning"), pipeline.JanitorPageInput{
				Cursor: cursor, JanitorInput: in,
			})
		if err != nil {
			return nil, err
		}
		addPage(result, got)
		workflow.SetCurrentDetails(ctx, janitorDetails(result))
		if cursor = got.Next; cursor == "" {
			return result, nil
		}
	}
}

func addPage(result *pipeline.JanitorResult, page pipeline.JanitorPage) {
	for _, r := range page.Removed {
		i := slices.IndexFunc(result.Removed, func(s pipeline.Removed) bool { return s.Kind == r.Kind })
		if i < 0 {
			result.Removed = append(result.Removed, r)
			continue
		}
		result.Removed[i].Objects += r.Objects
		result.Removed[i].Bytes += r.Bytes
	}
	for _, note := range page.Notes {
		if !slices.Contains(result.Notes, note) {
			result.Notes = append(result.Notes, note)
		}
	}
}

// janitorDetails is the result as Markdown, for the Temporal UI.
func janitorDetails(result *pipeline.JanitorResult) string {
	text := "| removed | objects | bytes |\n|---|--:|--:|\n"
	if result.DryRun {
		text = "| would be removed | objects | bytes |\n|---|--:|--:|\n"
	}
	for _, r := range result.Removed {
		text += fmt.Sprintf("| %s | %d | %d |\n", r.Kind, r.Objects, r.Bytes)
	}
	for _, note := range result.Notes {
		text += "\n- ⚠ " + note
	}
	return text
}
