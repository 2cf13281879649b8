package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"distilvit/internal/digest"
)

// GoMLX's own CPU plugin builds: the release that go-xla v0.4.1 asks for.
const (
	officialVersion = "v0.114.0"
	officialAsset   = "pjrt_cpu_linux_amd64.tar.gz"
	officialRelease = "https://api.github.com/repos/gomlx/pjrt-cpu-binaries/releases/tags/" + officialVersion
)

// officialPatience is how long the release page may take to answer.
const officialPatience = 5 * time.Second

// installOfficial gets GoMLX's build if its release page answers and lists a
// SHA-256 for it.
func installOfficial(ctx context.Context, root, tmp string, log func(string)) (string, error) {
	var release struct {
		Assets []struct {
			Name   string `json:"name"`
			URL    string `json:"browser_download_url"`
			Digest string `json:"digest"`
		} `json:"assets"`
	}
	short, cancel := context.WithTimeout(ctx, officialPatience)
	defer cancel()
	body, err := get(short, officialRelease)
	if err != nil {
		return "", fmt.Errorf("not reachable: %w", err)
	}
	err = json.NewDecoder(io.LimitReader(body, 1<<20)).Decode(&release)
	body.Close()
	if err != nil {
		return "", fmt.Errorf("read release %s: %w", officialVersion, err)
	}
	for _, a := range release.Assets {
		if a.Name != officialAsset {
			continue
		}
		want, ok := strings.CutPrefix(a.Digest, "sha256:")
		if !ok {
			return "", fmt.Errorf("release %s lists no SHA-256", officialVersion)
		}
		log("downloading " + a.URL)
		return unpackOfficial(ctx, a.URL, want, root, tmp, log)
	}
	return "", fmt.Errorf("release %s has no %s", officialVersion, officialAsset)
}

func unpackOfficial(ctx context.Context, url, want, root, tmp string, log func(string)) (string, error) {
	body, err := get(ctx, url)
	if err != nil {
		return "", err
	}
	defer body.Close()
	archive := filepath.Join(tmp, officialAsset)
	if err := writeFile(tmp, officialAsset, 0o644, body); err != nil {
		return "", err
	}
	got, _, err := digest.File(archive)
	if err != nil {
		return "", err
	}
	if got != want {
		return "", fmt.Errorf("%s has SHA-256 %s instead of %s", officialAsset, got, want)
	}
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	unpacked := filepath.Join(tmp, "official-"+officialVersion)
	if err := untar(f, unpacked, func(string) bool { return true }); err != nil {
		return "", fmt.Errorf("unpack %s: %w", officialAsset, err)
	}
	var plugin string
	err = filepath.WalkDir(unpacked, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_plugin.so") {
			plugin, err = filepath.Rel(unpacked, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if plugin == "" {
		return "", fmt.Errorf("%s holds no plugin", officialAsset)
	}
	return publish(root, unpacked, installed{Version: officialVersion, Source: url}, log, filepath.ToSlash(plugin))
}

func get(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return resp.Body, nil
}
