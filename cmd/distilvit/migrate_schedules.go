package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/client"

	"distilvit/pipeline"
)

// scheduleNames are those of our schedules, as Temporal lists them.
func (s *site) scheduleNames(ctx context.Context) (names []string, err error) {
	there, err := s.client.ScheduleClient().List(ctx, client.ScheduleListOptions{})
	for err == nil && there.HasNext() {
		var entry *client.ScheduleListEntry
		if entry, err = there.Next(); err == nil && entry.WorkflowType.Name == pipeline.RetrainType {
			names = append(names, entry.ID)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	return names, nil
}

// schedulesAmong divides names into our schedules and what has to be a run or a sweep, which a schedule's name may
// be, too. Of no names it is every schedule.
func (s *site) schedulesAmong(ctx context.Context, names []string) (schedules, others []string, err error) {
	if len(names) == 0 {
		schedules, err = s.scheduleNames(ctx)
		slices.Sort(schedules)
		return schedules, nil, err
	}
	for _, name := range names {
		_, _, err := s.describeSchedule(ctx, name)
		if err != nil && !errors.Is(err, errNoSchedule) {
			return nil, nil, err
		}
		if err == nil {
			schedules = append(schedules, name)
			if _, _, err := describeRun(ctx, s.client, name); errors.Is(err, errNoRun) {
				continue
			}
		}
		others = append(others, name)
	}
	return schedules, others, nil
}

// copySchedule makes a schedule on the other side, paused: were it not, both sides would train the same model anew. One
// that is there already stays as it is.
func (m *migration) copySchedule(ctx context.Context, from, to *site, name string) error {
	_, in, err := from.describeSchedule(ctx, name)
	if err != nil {
		return fmt.Errorf("copy schedule %s: %w", name, err)
	}
	options := scheduleOf(in)
	options.Paused, options.Note = true, "came by distilvit migrate"
	switch _, err = to.client.ScheduleClient().Create(ctx, options); {
	case scheduleThere(err):
		m.SchedulesThere = append(m.SchedulesThere, name)
	case err != nil:
		return fmt.Errorf("make schedule %s %s: %w", name, to.place(), err)
	default:
		m.Schedules = append(m.Schedules, name)
	}
	return nil
}
