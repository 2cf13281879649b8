// Command setupuser makes, in MinIO, the bucket and the user of the workers, whose policy allows to list, read,
// write and remove in that bucket and nothing else. Running it again changes nothing, but for a secret key that is
// another one now. It is a part of the MinIO image, and reads the variables that docker-compose.yml gives it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/minio/madmin-go/v3"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := setup(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "setupuser:", err)
		os.Exit(1)
	}
}

func setup(ctx context.Context) error {
	policy, err := os.ReadFile(os.Getenv("POLICY_FILE"))
	if err != nil {
		return err
	}
	rootSecret, err := secret("MINIO_ROOT_PASSWORD_FILE")
	if err != nil {
		return err
	}
	userSecret, err := secret("S3_SECRET_KEY_FILE")
	if err != nil {
		return err
	}
	endpoint, err := url.Parse(os.Getenv("S3_ENDPOINT"))
	if err != nil {
		return fmt.Errorf("S3_ENDPOINT: %w", err)
	}
	root := credentials.NewStaticV4(os.Getenv("MINIO_ROOT_USER"), rootSecret, "")
	bucket, user := os.Getenv("S3_BUCKET"), os.Getenv("S3_ACCESS_KEY")
	if err := makeBucket(ctx, endpoint, root, bucket); err != nil {
		return fmt.Errorf("bucket %s: %w", bucket, err)
	}
	policy = bytes.ReplaceAll(policy, []byte("BUCKET"), []byte(bucket))
	if err := makeUser(ctx, endpoint, root, user, userSecret, "distilvit-"+bucket, policy); err != nil {
		return fmt.Errorf("user %s: %w", user, err)
	}
	fmt.Printf("user %s may list, read, write and remove in bucket %s\n", user, bucket)
	return nil
}

// secret is what the file holds that a variable names, without the line's end.
func secret(variable string) (string, error) {
	raw, err := os.ReadFile(os.Getenv(variable))
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	return string(bytes.TrimRight(raw, "\r\n")), nil
}

func makeBucket(ctx context.Context, at *url.URL, root *credentials.Credentials, bucket string) error {
	client, err := minio.New(at.Host, &minio.Options{Creds: root, Secure: at.Scheme == "https"})
	if err != nil {
		return err
	}
	found, err := client.BucketExists(ctx, bucket)
	if err != nil || found {
		return err
	}
	return client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
}

func makeUser(
	ctx context.Context, at *url.URL, root *credentials.Credentials, user, secret, name string, policy []byte,
) error {
	admin, err := madmin.NewWithOptions(at.Host, &madmin.Options{Creds: root, Secure: at.Scheme == "https"})
	if err != nil {
		return err
	}
	if err := admin.AddCannedPolicy(ctx, name, policy); err != nil {
		return fmt.Errorf("policy %s: %w", name, err)
	}
	if err := admin.AddUser(ctx, user, secret); err != nil {
		return err
	}
	_, err = admin.AttachPolicy(ctx, madmin.PolicyAssociationReq{Policies: []string{name}, User: user})
	if madmin.ToErrorResponse(err).Code == "XMinioAdminPolicyChangeAlreadyApplied" {
		return nil
	}
	return err
}
