#include "simtls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LIFE_S = 30 * 86400, BACKDATE_S = 3600 };

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (!ext)
		return false;
	ok = X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok == 1;
}

/* A certificate with everything but extensions and signature. */
static X509 *new_cert(EVP_PKEY *key, X509 *issuer, const char *name)
{
	X509 *cert = X509_new();
	unsigned char serial[8];

	if (!cert || RAND_bytes(serial, sizeof(serial)) != 1) {
		X509_free(cert);
		return NULL;
	}
	/* Positive, and no zeros in front: DER has one form for each number. */
	serial[0] = (serial[0] & 0x7f) | 0x40;
	X509_set_version(cert, 2);
	ASN1_STRING_set(X509_get_serialNumber(cert), serial, sizeof(serial));
	X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATE_S);
	X509_gmtime_adj(X509_getm_notAfter(cert), LIFE_S);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
				   (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
	return cert;
}

static X509 *make_ca(EVP_PKEY *key)
{
	X509 *ca = new_cert(key, NULL, "graphsim test authority");

	if (ca && add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE") &&
	    add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	    add_extension(ca, ca, NID_subject_key_identifier, "hash") &&
	    X509_sign(ca, key, EVP_sha256()) > 0)
		return ca;
	X509_free(ca);
	return NULL;
}

static X509 *make_leaf(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *name)
{
	X509 *leaf = new_cert(key, ca, "localhost");
	char names[512];

	snprintf(names, sizeof(names), "DNS:localhost,IP:127.0.0.1%s%s", name ? ",DNS:" : "",
		 name ? name : "");

	if (leaf && add_extension(leaf, ca, NID_basic_constraints, "CA:FALSE") &&
	    add_extension(leaf, ca, NID_subject_alt_name, names) &&
	    add_extension(leaf, ca, NID_ext_key_usage, "serverAuth") &&
	    add_extension(leaf, ca, NID_authority_key_identifier, "keyid") &&
	    X509_sign(leaf, ca_key, EVP_sha256()) > 0)
		return leaf;
	X509_free(leaf);
	return NULL;
}

static FILE *create(const char *dir, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		fprintf(stderr, "graphsim: %s: %s\n", path, strerror(errno));
	return fd < 0 ? NULL : fdopen(fd, "w");
}

static bool write_all(const char *dir, X509 *ca, X509 *leaf, EVP_PKEY *key)
{
	FILE *ca_file = create(dir, "ca.pem"), *cert_file = create(dir, "cert.pem");
	FILE *key_file = create(dir, "key.pem");
	bool ok = ca_file && cert_file && key_file && PEM_write_X509(ca_file, ca) == 1 &&
		  PEM_write_X509(cert_file, leaf) == 1 &&
		  PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL) == 1;

	if (ca_file)
		ok = fclose(ca_file) == 0 && ok;
	if (cert_file)
		ok = fclose(cert_file) == 0 && ok;
	if (key_file)
		ok = fclose(key_file) == 0 && ok;
	return ok;
}

int simtls_make(const char *dir, const char *name)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = ca_key ? make_ca(ca_key) : NULL;
	X509 *leaf = ca && key ? make_leaf(key, ca, ca_key, name) : NULL;
	bool ok = leaf && write_all(dir, ca, leaf, key);

	if (!ok)
		fprintf(stderr, "graphsim: no certificates could be made in %s\n", dir);
	X509_free(leaf);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	return ok ? 0 : -EIO;
}
