package pipeline

import "encoding/json"

// The keys that programs up to version 0.1.0 gave other names. Payloads of theirs
// lie in the histories of open runs and are read as well; none is written any more.
const (
	oldMaxLength = "maxLength"
	oldBadList   = "badList"
	oldTestedOn  = "testedOn"
)

// UnmarshalJSON reads payloads of older programs, too.
func (r *PrepareShardResult) UnmarshalJSON(data []byte) error {
	type plain PrepareShardResult
	return unmarshalRenamed(data, (*plain)(r), oldBadList, "bad_list")
}

// UnmarshalJSON reads payloads of older programs, too.
func (in *BuildModelInput) UnmarshalJSON(data []byte) error {
	type plain BuildModelInput
	return unmarshalRenamed(data, (*plain)(in), oldMaxLength, "max_length")
}

// UnmarshalJSON reads payloads of older programs, too.
func (in *TokenizeInput) UnmarshalJSON(data []byte) error {
	type plain TokenizeInput
	return unmarshalRenamed(data, (*plain)(in), oldMaxLength, "max_length")
}

// UnmarshalJSON reads payloads of older programs, too.
func (in *ExportInput) UnmarshalJSON(data []byte) error {
	type plain ExportInput
	return unmarshalRenamed(data, (*plain)(in), oldMaxLength, "max_length")
}

// UnmarshalJSON reads payloads of older programs, too.
func (in *PublishInput) UnmarshalJSON(data []byte) error {
	type plain PublishInput
	return unmarshalRenamed(data, (*plain)(in), oldTestedOn, "tested_on")
}

// unmarshalRenamed reads an object in which one key may still have its old name.
func unmarshalRenamed(data []byte, into any, old, name string) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	value, isOld := object[old]
	if _, isNew := object[name]; isOld && !isNew {
		object[name] = value
		var err error
		if data, err = json.Marshal(object); err != nil {
			return err
		}
	}
	return json.Unmarshal(data, into)
}
