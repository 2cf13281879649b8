// Package layout is the map of the bucket: every key of a stored object is made
// and read here and nowhere else, as docs/storage.md lists them. It does no I/O
// and imports nothing of ours, so that workflows may use it. Objects that live
// and die together form a group: sources/<digest>, weights/<digest>,
// datasets/<key>, tokens/<key>, features/<key>, teacher/<key>, runs/<run> and
// models/<name>/<version>. Start reading at GroupOf, then run.go and model.go.
package layout

import (
	"slices"
	"strings"
)

// Areas are the folders at the top of the bucket that hold groups.
const (
	Sources  = "sources"  // what was downloaded, as it came
	Weights  = "weights"  // model directories in Hugging Face form
	Datasets = "datasets" // prepared pictures and captions
	Tokens   = "tokens"   // token ids, row-aligned with the pictures of a dataset
	Features = "features" // a frozen encoder's vectors, row-aligned with the pictures of a dataset
	Teacher  = "teacher"  // what a teacher says of captions, row-aligned with the pictures of a dataset
	Runs     = "runs"     // what belongs to one run alone
	Models   = "models"   // what runs published
	Sweeps   = "sweeps"   // reports of sweeps; no groups, nothing refers to them
)

// shared areas hold groups that several runs may refer to.
var shared = []string{Sources, Weights, Datasets, Tokens, Features, Teacher}

// AreaOf is the area of a key or group; "" where it has none of ours.
func AreaOf(key string) string {
	area, _, ok := strings.Cut(key, "/")
	if !ok || area != Runs && area != Models && !slices.Contains(shared, area) {
		return ""
	}
	return area
}

// Shared tells whether several runs may refer to the group of this key.
func Shared(key string) bool { return slices.Contains(shared, AreaOf(key)) }

// GroupOf is the group an object belongs to: datasets/<key>, runs/<run>,
// models/<name>/<version>. ok is false for keys that are none of ours.
func GroupOf(key string) (group string, ok bool) {
	n := 2
	switch AreaOf(key) {
	case "":
		return "", false
	case Models:
		n = 3
	}
	parts := strings.Split(key, "/")
	if len(parts) <= n || slices.Contains(parts[:n], "") {
		return "", false
	}
	return strings.Join(parts[:n], "/"), true
}

// Source is the group of a downloaded file.
func Source(digest string) string { return Sources + "/" + digest }

// SourceFile is the key of a downloaded file; of its name, characters that are
// not safe in a key are replaced.
func SourceFile(digest, name string) string { return File(Source(digest), SafeName(name)) }

// SafeName is a file's name with "_" for all but 0-9 A-Z a-z . _ - and without
// dots at its beginning.
func SafeName(name string) string {
	ok := strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', strings.ContainsRune("._-", r):
			return r
		}
		return '_'
	}, name)
	return strings.TrimLeft(ok, ".")
}

// ModelDir is the group of a model directory in Hugging Face form.
func ModelDir(digest string) string { return Weights + "/" + digest }

// Dataset is the group of a prepared dataset.
func Dataset(key string) string { return Datasets + "/" + key }

// TokenShards is the group of a dataset's token ids.
func TokenShards(key string) string { return Tokens + "/" + key }

// FeatureShards is the group of a dataset's features.
func FeatureShards(key string) string { return Features + "/" + key }

// TeacherShards is the group of what a teacher says.
func TeacherShards(key string) string { return Teacher + "/" + key }

// File is the key of a group's file that is kept under its own name, a
// slash-separated path: those of model directories and published models.
func File(group, name string) string { return group + "/" + name }

// NameIn is the name under which File keeps a key; ok is false where the key is not
// of the group.
func NameIn(group, key string) (name string, ok bool) { return strings.CutPrefix(key, group+"/") }

// Blob is the key of an object that is named by the digest of its bytes, below a
// group or Run.Blobs. ext begins with a dot, or is "".
func Blob(below, sha256, ext string) string { return below + "/" + sha256 + ext }

// DigestOf is the SHA-256 that a blob's key says its bytes have.
func DigestOf(key string) (sha256 string, ok bool) {
	name, _, _ := strings.Cut(key[strings.LastIndex(key, "/")+1:], ".")
	return name, len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}

// ManifestFile is the name of the document that makes a group, or a checkpoint,
// complete.
const ManifestFile = "manifest.json"

// Manifest is the key of a group's manifest: of a dataset, of token, feature or teacher shards or
// of a published model.
func Manifest(group string) string { return File(group, ManifestFile) }

// ManifestOf is the group whose manifest the key is.
func ManifestOf(key string) (group string, ok bool) {
	group, ok = GroupOf(key)
	return group, ok && key == Manifest(group)
}

// Plan is the key of what planning a dataset found out, beside its manifest.
func Plan(dataset string) string { return File(dataset, "plan.json") }

// IsDocument tells whether a key is that of a JSON document.
func IsDocument(key string) bool { return strings.HasSuffix(key, ".json") }

// Marker is the key of the object that is always in an embedded store: where it is missing, the store has been
// emptied, or is another.
const Marker = "store.json"

// SweepFolder begins the keys of a sweep.
func SweepFolder(sweep string) string { return Sweeps + "/" + sweep + "/" }

// OfSweep tells whether a key is a sweep's.
func OfSweep(key string) bool { return strings.HasPrefix(key, Sweeps+"/") }

// SweepReport is the key of a sweep's report for people, and SweepDocument of the same as JSON.
func SweepReport(sweep string) string { return SweepFolder(sweep) + ReportFile }

// SweepDocument is the key of what became of a sweep's trials.
func SweepDocument(sweep string) string { return SweepFolder(sweep) + "sweep.json" }

// CondemnedPrefix is below which a group is named while somebody removes objects of it.
const CondemnedPrefix = "condemned/"

// Condemned is the key that is there while somebody removes objects of the group.
func Condemned(group string) string { return CondemnedPrefix + group + ".json" }

// CheckPrefix is below which small objects are written to test the store.
const CheckPrefix = ".check/"

// Check is the key of such an object.
func Check(random string) string { return CheckPrefix + random }
