package bench

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/pipeline"
)

func TestScaleSourceHasEveryPictureWithFiveCaptions(t *testing.T) {
	dir := t.TempDir()
	cfg, err := ScaleOptions{Source: pipeline.KindCOCO, Preset: "tiny", Side: 32}.Config(dir, 40)
	require.NoError(t, err)
	require.Equal(t, 32, cfg.Model.ImageSize)
	raw, err := os.ReadFile(cfg.Dataset[0].Captions)
	require.NoError(t, err)
	var file struct {
		Images []struct {
			ID   int    `json:"id"`
			Name string `json:"file_name"`
		}
		Annotations []struct {
			Image   int `json:"image_id"`
			Caption string
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	z, err := zip.OpenReader(cfg.Dataset[0].Images[0])
	require.NoError(t, err)
	defer z.Close()
	there := map[string]bool{}
	for _, f := range z.File {
		there[f.Name] = true
	}
	require.Len(t, file.Images, 40)
	require.Len(t, there, 40)
	captions := map[int]int{}
	for _, a := range file.Annotations {
		require.NotEmpty(t, a.Caption)
		captions[a.Image]++
	}
	for _, image := range file.Images {
		require.True(t, there["train2014/"+image.Name], image.Name)
		require.Equal(t, 5, captions[image.ID])
	}
}

func TestFollowMeasuresPrepareAndThenTheEpochsFirstSteps(t *testing.T) {
	glances := []Glance{
		{Stage: pipeline.StageDownload},
		{Stage: pipeline.StagePrepare, Events: 10},
		{Stage: pipeline.StageTrain, Events: 30, History: 4000},
		{Stage: pipeline.StageTrain, Events: 31, Step: 7},
	}
	m := ScaleMeasurement{Pictures: 10}
	at := -1
	require.NoError(
		t, m.Follow(t.Context(), 5, func(context.Context) (Glance, error) { at++; return glances[at], nil }),
	)
	require.Equal(t, []int64{30, 4000, 7}, []int64{m.Events, m.History, m.Steps})
	require.Positive(t, m.Peak[RoleTemporal].Anonymous)
	require.Positive(t, m.EpochPeak[RoleTemporal].Anonymous)
	require.Positive(t, m.Wall)

	over := errors.New("the run is over")
	require.ErrorIs(
		t, m.Follow(t.Context(), 5, func(context.Context) (Glance, error) { return Glance{}, over }), over,
	)
}
