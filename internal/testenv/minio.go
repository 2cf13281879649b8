package testenv

import (
	"os/exec"
)

// MinIOCommand is a real MinIO, of Tool, on an address of FreeAddress and with
// its state in dir.
func MinIOCommand(exe, address, dir, accessKey, secretKey string) *exec.Cmd {
	return Command([]string{
		"MINIO_ROOT_USER=" + accessKey, "MINIO_ROOT_PASSWORD=" + secretKey, "MINIO_UPDATE=off",
		"MINIO_BROWSER=off",
	},
		exe, "server", "--quiet", "--address", address, dir)
}

// MinIOAnswers says whether the MinIO at an address serves by now.
func MinIOAnswers(address string) bool { return Answers("http://" + address + "/minio/health/ready") }
