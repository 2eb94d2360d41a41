/* A certificate authority and a certificate for localhost, made at every start. */
#pragma once

#include "mem.h"

/* Writes ca.pem, cert.pem and key.pem (0600) into the directory. name: one more host name that the
 * certificate is good for, or NULL. Negative errno; says on stderr what failed. */
must_check int simtls_make(const char *dir, const char *name);
