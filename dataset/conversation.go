package dataset

import (
	"encoding/json"
	"strings"
)

// turn is what one side of a conversation says. LLaVA's files have from and value, those
// of chat templates role and content.
type turn struct {
	From    string `json:"from"`
	Value   string `json:"value"`
	Role    string `json:"role"`
	Content string `json:"content"`
}

func (t turn) isHuman() bool { return t.From == "human" || t.From == "user" || t.Role == "user" }
func (t turn) isModel() bool {
	return t.From == "gpt" || t.From == "assistant" || t.Role == "assistant"
}
func (t turn) text() string { return t.Value + t.Content }

// conversationKeys are LLaVA's and that of chat templates.
var conversationKeys = []string{"conversations", "messages"}

// addConversation takes the caption out of a conversation in LLaVA's form: what
// follows the first turn of the human that shows the picture, <image>. A conversation
// without a picture is left out and counted.
func (o jsonObject) addConversation(turnsKey string, spec Spec, pictures *pictureList) error {
	key := spec.Columns.Image
	if key == "" {
		key = o.first([]string{"image", "images"})
	}
	if _, shown := o[key]; !shown {
		pictures.textOnly++
		return nil
	}
	image, err := o.picture(key)
	if err != nil || image == "" {
		return badRow(key + " is not the name of one picture")
	}
	var turns []turn
	if err := json.Unmarshal(o[turnsKey], &turns); err != nil {
		return badRow(turnsKey + " is not a list of turns with from and value")
	}
	for i, t := range turns {
		if !t.isHuman() || !strings.Contains(t.text(), "<image>") {
			continue
		}
		if i+1 == len(turns) || !turns[i+1].isModel() {
			return badRow("no answer follows <image>")
		}
		return pictures.named(image, "", "", turns[i+1].text())
	}
	return badRow("no turn of the human has <image>")
}
