//go:build cgo && linux

package turbojpeg

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// TurboJPEG's stable functions and numbers, of its versions 2 and 3.
typedef void *tjhandle;
enum { formatRGB = 0, formatCMYK = 11, spaceCMYK = 3, spaceYCCK = 4, limitScans = 32768 };
static tjhandle (*initDecompress)(void);
static int (*destroy)(tjhandle);
static char *(*errorText)(tjhandle);
static int (*readHeader)(tjhandle, const unsigned char *, unsigned long, int *, int *, int *, int *);
static int (*decompress)(tjhandle, const unsigned char *, unsigned long, unsigned char *,
	int, int, int, int, int);

static const char *openLibrary(const char *name) {
	void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!lib) return dlerror();
	initDecompress = dlsym(lib, "tjInitDecompress");
	destroy = dlsym(lib, "tjDestroy");
	errorText = dlsym(lib, "tjGetErrorStr2");
	readHeader = dlsym(lib, "tjDecompressHeader3");
	decompress = dlsym(lib, "tjDecompress2");
	if (initDecompress && destroy && errorText && readHeader && decompress) return NULL;
	return "is older than version 2";
}

enum { messageSize = 200 };

static void copyMessage(char *message, tjhandle h) {
	strncpy(message, errorText(h), messageSize - 1);
	message[messageSize - 1] = 0;
}

// header fills width, height and cmyk. They are 0 where there is no header; a library also complains of
// samplings that it decodes well, after it has filled them.
static void header(const unsigned char *jpeg, unsigned long size,
	int *width, int *height, int *cmyk, char *message) {
	int sampling = 0, space = 0;
	tjhandle h = initDecompress();
	if (!h) { strcpy(message, "no memory"); return; }
	if (readHeader(h, jpeg, size, width, height, &sampling, &space)) copyMessage(message, h);
	*cmyk = space == spaceCMYK || space == spaceYCCK;
	destroy(h);
}

// pixels decodes with the accurate transform and smooth upsampling, the library's defaults. Not 0: see
// message.
static int pixels(const unsigned char *jpeg, unsigned long size, unsigned char *dst,
	int width, int height, int cmyk, char *message) {
	tjhandle h = initDecompress();
	if (!h) { strcpy(message, "no memory"); return -1; }
	int failed = decompress(h, jpeg, size, dst, width, 0, height, cmyk ? formatCMYK : formatRGB, limitScans);
	if (failed) copyMessage(message, h);
	destroy(h);
	return failed;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// libraryName carries the version of the interface, which has not changed since 2005.
const libraryName = "libturbojpeg.so.0"

func open() error {
	name := C.CString(libraryName)
	defer C.free(unsafe.Pointer(name))
	if why := C.openLibrary(name); why != nil {
		return fmt.Errorf("load libjpeg-turbo: %s", C.GoString(why))
	}
	return nil
}

func readHeader(jpeg []byte) (Header, error) {
	if len(jpeg) == 0 {
		return Header{}, errTruncated
	}
	var width, height, cmyk C.int
	var message [C.messageSize]C.char
	C.header((*C.uchar)(&jpeg[0]), C.ulong(len(jpeg)), &width, &height, &cmyk, &message[0])
	if width < 1 || height < 1 {
		if message[0] != 0 {
			if err := judge(C.GoString(&message[0]), jpeg); err != nil {
				return Header{}, err
			}
		}
		return Header{}, errors.New("no picture begins in the file")
	}
	return Header{int(width), int(height), cmyk != 0}, nil
}

func decode(dst []uint8, jpeg []byte, h Header) error {
	if len(jpeg) == 0 {
		return errTruncated
	}
	cmyk := C.int(0)
	if h.CMYK {
		cmyk = 1
	}
	var message [C.messageSize]C.char
	if C.pixels((*C.uchar)(&jpeg[0]), C.ulong(len(jpeg)), (*C.uchar)(&dst[0]), C.int(h.Width),
		C.int(h.Height), cmyk, &message[0]) == 0 {
		return nil
	}
	return judge(C.GoString(&message[0]), jpeg)
}
