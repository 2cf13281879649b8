package pipeline

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	"distilvit/artifact/record"
	"distilvit/storage/layout"
)

func TestPayloadsWithOldKeysAreRead(t *testing.T) {
	for old, c := range map[string]struct{ into, want any }{
		`{"shard": {"index": 3, "rows": 10}, "bad": 2, "badList": {"key": "k", "size": 7}, "turned": 1}`: {
			&PrepareShardResult{},
			&PrepareShardResult{
				Shard: record.Shard{Index: 3, Rows: 10}, Bad: 2, BadList: layout.Object{Key: "k", Size: 7},
				Turned: 1,
			},
		},
		`{"run": "r", "maxLength": 33}`: {&BuildModelInput{}, &BuildModelInput{Run: "r", MaxLength: 33}},
		`{"run": "r", "maxLength": 32, "first": 16, "last": 20}`: {
			&TokenizeInput{}, &TokenizeInput{Run: "r", MaxLength: 32, First: 16, Last: 20},
		},
		`{"work": {"run": "r"}, "maxLength": 33}`: {
			&ExportInput{}, &ExportInput{Work: Work{Run: "r"}, MaxLength: 33},
		},
		`{"run": "r", "testedOn": "test", "config": {}}`: {
			&PublishInput{}, &PublishInput{Run: "r", TestedOn: "test", Config: Default()},
		},
		// What is written now wins.
		`{"max_length": 5, "maxLength": 6}`: {&ExportInput{}, &ExportInput{MaxLength: 5}},
	} {
		if err := json.Unmarshal([]byte(old), c.into); err != nil || !reflect.DeepEqual(c.into, c.want) {
			t.Errorf("%s is read as %+v, %v; want %+v", old, c.into, err, c.want)
		}
		written, err := json.Marshal(c.into)
		if err != nil {
			t.Fatal(err)
		}
		again := reflect.New(reflect.TypeOf(c.into).Elem()).Interface()
		if err := json.Unmarshal(written, again); err != nil || !reflect.DeepEqual(again, c.into) {
			t.Errorf("%s is read as %+v, %v; want %+v", written, again, err, c.into)
		}
	}
	if err := json.Unmarshal([]byte(`{"maxLength": "x"}`), new(ExportInput)); err == nil {
		t.Error("a text is taken for a length")
	}
}

// Names of metrics are Hugging Face's: rougeL and rougeLsum have capitals.
var snakeCase = regexp.MustCompile(`^(?:[a-z0-9_]|rougeL)+$`)

func TestKeysOfTheContractAreInSnakeCase(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var look func(reflect.Type)
	look = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			look(of.Elem())
		case reflect.Struct:
			if seen[of] {
				return
			}
			seen[of] = true
			for i, name := range jsonKeys(of).names {
				if name != "" && !snakeCase.MatchString(name) {
					t.Errorf("%s.%s: key %s", of, of.Field(i).Name, name)
				}
				look(of.Field(i).Type)
			}
		}
	}
	for _, of := range []any{
		Stop{}, Status{}, PreflightInput{}, PreflightResult{}, DownloadInput{},
		PretrainedInput{}, PlanInput{},
		Plan{}, PrepareShardInput{}, FinishPrepareInput{}, BuildModelInput{}, TokenizeInput{}, TokenizePlan{},
		TokenizeResult{}, FinishTokensInput{}, EpochInput{}, EpochResult{}, FindProgressInput{},
		RecordProgressInput{}, EvaluateInput{}, EvaluateResult{}, ExportInput{}, PublishInput{}, Heartbeat{},
		Broken{}, DropBrokenInput{}, DropBrokenResult{}, JanitorInput{}, JanitorResult{}, JanitorPageInput{},
		JanitorPage{}, ShardsInput{}, ShardsTold{}, ReadTasksInput{}, ShardTasks{}, StorePageInput{},
	} {
		look(reflect.TypeOf(of))
	}
}
