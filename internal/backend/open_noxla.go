//go:build !cgo

package backend

import (
	"errors"

	"github.com/gomlx/compute"
)

const haveXLA = false

func openXLA(Choice) (compute.Backend, error) {
	return nil, errors.New("this program was built without cgo")
}
