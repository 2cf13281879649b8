package pipeline

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"distilvit/storage/layout"
)

// LicenseOther is a licence that the hub has no identifier of.
const LicenseOther = "other"

// licenses are the identifiers that the hub takes in a card: its documentation's "Licenses" page.
var licenses = []string{
	"apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
	"bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
	"bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
	"cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
	"cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
	"cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
	"eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c",
	"ms-pl", "mpl-2.0", "odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib",
	"pddl", "lgpl-lr", "deepfloyd-if-license", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4",
	"gemma", "unknown", LicenseOther,
}

// Rules of the hub. A repository's are those of huggingface_hub's validate_repo_id.
var (
	repoPattern     = regexp.MustCompile(`^\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?$`)
	languagePattern = regexp.MustCompile(`^(?:[a-z]{2,3}|multilingual)$`)
	branchPattern   = regexp.MustCompile(`^[A-Za-z0-9][\w./-]*$`)
	commitPattern   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	linkPattern     = regexp.MustCompile(`^[\w.-]+$`)
	slugPattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]*$`)
)

func (v *validator) publish(p PublishConfig) {
	v.check(p.Approve || len(p.Approvers) == 0, "publish.approvers", "is for publish.approve true only")
	for i, who := range p.Approvers {
		v.check(strings.TrimSpace(who) != "", fmt.Sprintf("publish.approvers[%d]", i), "names nobody")
	}
	if p.Push != "" {
		id, branch := p.PushRepo()
		v.check(strings.HasPrefix(p.Push, "hf:"), "publish.push", "is %q; must be hf:ORG/NAME, or hf:ORG/NAME@BRANCH", p.Push)
		v.repo("publish.push", id)
		v.check(branchPattern.MatchString(branch) && !commitPattern.MatchString(branch), "publish.push",
			"names %q, which is no branch", branch)
	}
	v.check(p.Push != "" || !p.Private, "publish.private", "is for publish.push only")
	v.betterThan(p.BetterThan)
	if p.RepoID != "" {
		v.repo("publish.repo_id", p.RepoID)
	}
	v.license(p)
	for i, language := range p.Language {
		at := fmt.Sprintf("publish.language[%d]", i)
		v.check(languagePattern.MatchString(language), at, "is %q; must be an ISO 639 code, such as en", language)
		v.check(slices.Index(p.Language, language) == i, at, "names %s a second time", language)
	}
	for i, base := range p.BaseModel {
		at := fmt.Sprintf("publish.base_model[%d]", i)
		v.repo(at, base)
		v.check(slices.Index(p.BaseModel, base) == i, at, "names %s a second time", base)
	}
}

func (v *validator) betterThan(b BetterThanConfig) {
	const at = "publish.better_than."
	if b.Model == "" {
		v.check(b == (BetterThanConfig{}), at+"model", "is missing: which published model, models/NAME?")
		return
	}
	_, version := layout.ParseModel(b.Model)
	_, name := layout.NameOf(b.Model)
	v.check(version || name, at+"model", "is %q; must be models/NAME or models/NAME/VERSION", b.Model)
	key, ok := strings.CutPrefix(b.Dataset, layout.Datasets+"/")
	v.check(b.Dataset == "" || ok && key != "" && !strings.Contains(key, "/"), at+"dataset",
		"is %q; must be datasets/KEY (distilvit ls lists them)", b.Dataset)
	if b.Metric != "" {
		v.oneOf(at+"metric", b.Metric, bestMetrics)
	}
	v.check(b.Margin >= 0 && !math.IsInf(b.Margin, 0), at+"margin", "is %v; must be at least 0", b.Margin)
}

// PushRepo is the repository and branch that push names.
func (p PublishConfig) PushRepo() (id, branch string) {
	id, branch, named := strings.Cut(strings.TrimPrefix(p.Push, "hf:"), "@")
	if !named {
		branch = "main"
	}
	return id, branch
}

func (v *validator) repo(path, id string) {
	ok := repoPattern.MatchString(id) && len(id) <= 96 && !strings.Contains(id, "--") &&
		!strings.Contains(id, "..") && !strings.HasSuffix(id, ".git")
	v.check(ok, path, "is %q; must be ORG/NAME of the hub, of at most 96 letters, digits and . _ -, "+
		"without -- and ..", id)
}

func (v *validator) license(p PublishConfig) {
	if p.License != "" && !slices.Contains(licenses, p.License) {
		message := fmt.Sprintf("is %q, which the hub does not know", p.License)
		if meant := mistyped(strings.ToLower(p.License), licenses); meant != "" {
			message += fmt.Sprintf("; did you mean %s?", meant)
		}
		v.check(false, "publish.license", "%s; of others write other, and publish.license_name", message)
		return
	}
	if p.License != LicenseOther {
		v.check(p.LicenseName == "", "publish.license_name", "is for publish.license other only")
		v.check(p.LicenseLink == "", "publish.license_link", "is for publish.license other only")
		return
	}
	v.check(slugPattern.MatchString(p.LicenseName), "publish.license_name",
		"is %q; publish.license other needs a name of a-z 0-9 . + -", p.LicenseName)
	v.check(p.LicenseLink == "" || IsURL(p.LicenseLink) || linkPattern.MatchString(p.LicenseLink),
		"publish.license_link", "is %q; must be a URL, or a file's name such as LICENSE", p.LicenseLink)
}
