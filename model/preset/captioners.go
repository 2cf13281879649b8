package preset

// Captioners are the names of published captioners to start from.
func Captioners() []string { return []string{"distilvit", "vit-gpt2"} }

// Captioner returns the weights that a name stands for, as a config's model.weights has them, false for
// a name that is none. distilvit is what Firefox describes pictures with, vit-gpt2 what it was made from.
func Captioner(name string) (weights string, ok bool) {
	switch name {
	case "distilvit":
		return "hf:Mozilla/distilvit", true
	case "vit-gpt2":
		return "hf:nlpconnect/vit-gpt2-image-captioning", true
	}
	return "", false
}
