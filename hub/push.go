package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"distilvit/internal/digest"
	"distilvit/internal/retry"
)

// Push is files that are to be a commit of a repository.
type Push struct {
	Repo    Repo // its revision is a branch
	Private bool // create the repository for its owners alone; one that is public is refused
	Title   string
	Files   []PushFile
}

// PushFile is one file to be pushed.
type PushFile struct {
	Name   string // in the repository, with slashes
	Path   string // the local file
	Size   int64  // bytes
	SHA256 string
}

// Pushed is what a push came to.
type Pushed struct {
	Page    string // where people look at the repository
	Commit  string // 40 hex digits
	Changed int    // files that were not there with these bytes
	Sent    int64  // bytes of large files that had to be sent
}

// Numbers of files in one request, as huggingface_hub has them, and commits of others that are given way to.
const (
	preuploadFiles = 256
	batchFiles     = 256
	rounds         = 5
)

// errMoved: somebody else, or an answer that was lost, has moved the branch on.
var errMoved = errors.New("the branch has moved on while it was pushed to")

// push is a Push on its way.
type push struct {
	Push
	client   *Client
	progress Progress
	sent     int64           // bytes
	ready    map[string]bool // SHA-256 of large files that the hub has
}

// Push makes the files a commit of the branch, of a repository that it creates where there is none. What is
// there already with the same bytes is not sent again, by whomever it was sent, so a Push that broke off is
// called once more. Other files of the repository stay. The commit is one: nobody sees half of it.
func (c *Client) Push(ctx context.Context, p Push, progress Progress) (*Pushed, error) {
	p.Repo = p.Repo.withDefaults()
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	u := &push{Push: p, client: c, progress: progress, ready: map[string]bool{}}
	out, err := u.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("hugging face %s: %w", p.Repo, err)
	}
	return out, nil
}

func (u *push) run(ctx context.Context) (*Pushed, error) {
	if err := u.client.mayPush(u.Repo); err != nil {
		return nil, err
	}
	if err := u.create(ctx); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		out, err := u.round(ctx)
		if !errors.Is(err, errMoved) || try == rounds {
			return out, err
		}
		if err := u.client.pause(ctx, retry.FirstPause); err != nil {
			return nil, err
		}
	}
}

// mayPush is what can be known without asking anybody.
func (c *Client) mayPush(r Repo) error {
	if err := r.check(); err != nil {
		return err
	}
	switch {
	case r.Pinned():
		return fmt.Errorf("%s is a commit, which never changes: push to a branch", r.Revision)
	case c.offline:
		return errors.New("HF_HUB_OFFLINE is set: nothing can be pushed")
	case c.token == "":
		return errors.New("a push needs a token that may write: set HF_TOKEN")
	}
	return nil
}

// CheckPush finds out what would fail a push later: no token, one that is not accepted, or one that may only
// read.
func (c *Client) CheckPush(ctx context.Context, r Repo) error {
	r = r.withDefaults()
	err := c.mayPush(r)
	if err == nil {
		var who struct {
			Auth struct {
				AccessToken struct {
					Role string `json:"role"`
				} `json:"accessToken"`
			} `json:"auth"`
		}
		err = c.ask(ctx, r, http.MethodGet, c.endpoint.String()+"/api/whoami-v2", "", nil, &who)
		if err == nil && who.Auth.AccessToken.Role == "read" {
			err = errors.New("the token in HF_TOKEN may only read: make one that may write")
		}
	}
	if err != nil {
		return fmt.Errorf("hugging face %s: %w", r, err)
	}
	return nil
}

// create makes the repository, or finds the one that is there fit to be pushed to.
func (u *push) create(ctx context.Context) error {
	c := u.client
	body := map[string]any{"type": u.Repo.Kind, "name": u.Repo.ID, "private": u.Private}
	if organization, name, ok := strings.Cut(u.Repo.ID, "/"); ok {
		body["organization"], body["name"] = organization, name
	}
	err := c.postJSON(ctx, u.Repo, c.endpoint.String()+"/api/repos/create", "application/json", body, nil)
	var refused *refused
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &refused):
		return err
	}
	switch refused.status {
	case http.StatusConflict: // it is there
		err = nil
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden:
		// a token may be allowed to write to one repository and to create none
	default:
		return err
	}
	var about struct {
		Private bool `json:"private"`
	}
	asked := c.ask(ctx, u.Repo, http.MethodGet, c.endpoint.String()+"/api/"+u.Repo.Kind+"s/"+u.Repo.ID, "", nil, &about)
	switch {
	case asked != nil && err != nil:
		return err // why it cannot be created says more
	case asked != nil:
		return asked
	case u.Private && !about.Private:
		return errors.New("it is there and public, and what is pushed is to be private: " +
			"make it private in its settings, or push to another")
	}
	return nil
}

// round is one attempt to commit on the branch's present head.
func (u *push) round(ctx context.Context) (*Pushed, error) {
	head, err := u.client.list(ctx, u.Repo)
	if err != nil {
		return nil, err
	}
	changed, large, err := u.changed(ctx)
	if err != nil {
		return nil, err
	}
	out := &Pushed{Page: u.client.page(u.Repo), Commit: head.commit, Changed: len(changed)}
	if len(changed) > 0 {
		if err := u.sendLarge(ctx, changed, large); err != nil {
			return nil, err
		}
		if out.Commit, err = u.commit(ctx, head.commit, changed, large); err != nil {
			return nil, err
		}
	}
	out.Sent = u.sent
	return out, nil
}

// changed asks which files the branch does not have with these bytes, and which of them are kept as large
// files, by name.
func (u *push) changed(ctx context.Context) (files []PushFile, large map[string]bool, err error) {
	type file struct {
		Path   string `json:"path"`
		Sample []byte `json:"sample"` // its begin, by which text is told
		Size   int64  `json:"size"`
	}
	large = map[string]bool{}
	for part := range slices.Chunk(u.Files, preuploadFiles) {
		asked := make([]file, len(part))
		for i, f := range part {
			sample, err := firstBytes(f.Path, 512)
			if err != nil {
				return nil, nil, err
			}
			asked[i] = file{f.Name, sample, f.Size}
		}
		var answer struct {
			Files []struct {
				Path   string `json:"path"`
				Mode   string `json:"uploadMode"`
				Ignore bool   `json:"shouldIgnore"`
				OID    string `json:"oid"` // of the file that is there: SHA-256 of a large one, else a git blob's
			} `json:"files"`
		}
		if err := u.client.postJSON(ctx, u.Repo, u.api("preupload"), "application/json",
			map[string]any{"files": asked}, &answer); err != nil {
			return nil, nil, err
		}
		told := map[string]int{}
		for i, f := range answer.Files {
			told[f.Path] = i
		}
		for _, f := range part {
			i, ok := told[f.Name]
			if !ok {
				return nil, nil, fmt.Errorf("%s does not say how it takes %s", u.client.endpoint.Host, f.Name)
			}
			is := answer.Files[i]
			if is.Ignore {
				continue
			}
			own := f.SHA256
			if large[f.Name] = is.Mode == "lfs" && f.Size > 0; !large[f.Name] {
				if own, err = gitBlob(f); err != nil {
					return nil, nil, err
				}
			}
			if is.OID != own {
				files = append(files, f)
			}
		}
	}
	return files, large, nil
}

// api is a verb of the repository's branch.
func (u *push) api(verb string) string {
	return fmt.Sprintf("%s/api/%ss/%s/%s/%s", u.client.endpoint, u.Repo.Kind, u.Repo.ID, verb,
		url.PathEscape(u.Repo.Revision))
}

// commit makes one of the files, on its parent, and answers its id.
func (u *push) commit(ctx context.Context, parent string, files []PushFile, large map[string]bool) (string, error) {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	line := func(key string, value map[string]any) error {
		return lines.Encode(map[string]any{"key": key, "value": value})
	}
	err := line("header", map[string]any{"summary": u.Title, "description": "", "parentCommit": parent})
	for _, f := range files {
		if err != nil {
			return "", err
		}
		if large[f.Name] {
			err = line("lfsFile", map[string]any{"path": f.Name, "algo": "sha256", "oid": f.SHA256, "size": f.Size})
			continue
		}
		var content []byte
		if content, err = f.read(); err == nil {
			err = line("file", map[string]any{
				"path": f.Name, "encoding": "base64", "content": base64.StdEncoding.EncodeToString(content),
			})
		}
	}
	if err != nil {
		return "", err
	}
	var answer struct {
		Commit string `json:"commitOid"`
	}
	err = u.client.ask(ctx, u.Repo, http.MethodPost, u.api("commit"), "application/x-ndjson", body.Bytes(), &answer)
	var refused *refused
	if errors.As(err, &refused) &&
		(refused.status == http.StatusConflict || refused.status == http.StatusPreconditionFailed) {
		return "", fmt.Errorf("%w: %w", errMoved, err)
	}
	if err == nil && !commitPattern.MatchString(answer.Commit) {
		err = fmt.Errorf("%s names no commit", u.client.endpoint.Host)
	}
	return answer.Commit, err
}

// read is the file's bytes, which are those that were to be pushed.
func (f PushFile) read() ([]byte, error) {
	content, err := os.ReadFile(f.Path)
	if err == nil && digest.Bytes(content) != f.SHA256 {
		err = f.changed()
	}
	return content, err
}

func (f PushFile) changed() error { return fmt.Errorf("%s is not what was published", f.Path) }

// gitBlob is the name git gives a file.
func gitBlob(f PushFile) (string, error) {
	content, err := f.read()
	if err != nil {
		return "", err
	}
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...))
	return hex.EncodeToString(sum[:]), nil
}

func firstBytes(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}
