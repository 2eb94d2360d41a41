/* What one request changes: folders, small files, names, moves, deletions; and who may not. */
#include "simtalk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RUN(t, steps) simtalk_run(t, steps, sizeof(steps) / sizeof((steps)[0]))
#define CHILDREN      "/me/drive/root/children"
#define FOLDER(name, behaviour)                                            \
	"{\"name\":\"" name "\",\"folder\":{},\"@microsoft.graph.conflict" \
	"Behavior\":\"" behaviour "\"}"

static const char *const flavours[] = { "business", "library", "personal-new", "personal-classic" };

static void test_folders(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "new", "POST", CHILDREN, .body = "{\"name\":\"A\",\"folder\":{}}", .status = 201,
		  .want = "name=A;folder/childCount=0;parentReference/name=root;header:Location~",
		  .save = "a=id;tag=eTag" },
		{ "is there", "GET", "/me/drive/items/{a}", .status = 200,
		  .want = "name=A;eTag={tag}" },
		{ "again", "POST", CHILDREN, .body = "{\"name\":\"A\",\"folder\":{}}",
		  .status = 409, .want = "code=nameAlreadyExists" },
		{ "other case", "POST", CHILDREN, .body = FOLDER("a", "fail"), .status = 409 },
		{ "replace", "POST", CHILDREN, .body = FOLDER("a", "replace"), .status = 200,
		  .want = "id={a};name=A" },
		{ "rename", "POST", CHILDREN, .body = FOLDER("a", "rename"), .status = 201,
		  .want = "name=a 1" },
		{ "rename again", "POST", CHILDREN, .body = FOLDER("a", "rename"), .status = 201,
		  .want = "name=a 2" },
		{ "old spelling", "POST", CHILDREN,
		  .body = "{\"name\":\"a\",\"folder\":{},\"@name.conflictBehavior\":\"replace\"}",
		  .status = 200, .want = "id={a}" },
		{ "below", "POST", "/me/drive/items/{a}/children", .body = FOLDER("B", "fail"),
		  .status = 201, .save = "b=id" },
		{ "below by path", "POST", "/me/drive/root:/a/b:/children",
		  .body = FOLDER("C", "fail"), .status = 201 },
		{ "the folder counts it, its tag stays", "GET", "/me/drive/items/{a}",
		  .status = 200, .want = "folder/childCount=1;eTag={tag}" },
		{ "nowhere", "POST", "/me/drive/root:/none:/children", .body = FOLDER("C", "fail"),
		  .status = 404, .want = "code=itemNotFound" },
		{ "no facet", "POST", CHILDREN, .body = "{\"name\":\"x\"}", .status = 400 },
		{ "no name", "POST", CHILDREN, .body = "{\"folder\":{}}", .status = 400 },
		{ "no JSON", "POST", CHILDREN, .body = "{", .status = 400 },
		{ "unknown behaviour", "POST", CHILDREN, .body = FOLDER("x", "maybe"),
		  .status = 400 },
		{ "a file", "PUT", "/me/drive/root:/f:/content", .body = "x", .status = 201,
		  .save = "f=id" },
		{ "where a file is", "POST", CHILDREN, .body = FOLDER("F", "replace"),
		  .status = 409 },
		{ "in a file", "POST", "/me/drive/items/{f}/children", .body = FOLDER("C", "fail"),
		  .status = 400 },
		{ "counted", "GET", "admin/counters", .status = 200, .want = "mkdir=16;put=1" },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

static void test_put(void **state)
{
	static const char path[] = "/me/drive/root:/a.txt:/content";
	static const struct simtalk_step steps[] = {
		{ "new", "PUT", path, .body = "hello", .status = 201,
		  .want = "name=a.txt;size=5;file/hashes/quickXorHash=aCgDG9jwBgAAAAAABQAAAAAAAAA=",
		  .save = "id=id;etag=eTag;ctag=cTag;link=@microsoft.graph.downloadUrl" },
		{ "its bytes", "GET", "{link}", .status = 200, .want = "body=hello" },
		{ "as told by the admin", "GET", "admin/content?path=a.txt", .status = 200,
		  .want = "body=hello" },
		{ "replaced by id", "PUT", "/me/drive/items/{id}/content", .body = "abc",
		  .status = 200,
		  .want = "id={id};size=3;eTag~{etag};cTag~{ctag};"
			  "file/hashes/quickXorHash=YRDDGAAAAAAAAAAAAwAAAAAAAAA=",
		  .save = "etag=eTag;ctag=cTag" },
		{ "earlier version", "GET", "admin/content?path=a.txt&version=1", .status = 200,
		  .want = "body=hello" },
		{ "versions", "GET", "/me/drive/items/{id}/versions", .status = 200,
		  .want = "value#=2;value/0/size=3;value/1/size=5" },
		{ "wrong If-Match", "PUT", path, "If-Match: \"other,1\"", .body = "no",
		  .status = 412, .want = "code=resourceModified;inner=preconditionFailed" },
		{ "eTag", "PUT", path, "If-Match: {etag}", .body = "one", .status = 200,
		  .save = "etag=eTag;ctag=cTag" },
		{ "cTag", "PUT", path, "If-Match: {ctag}", .body = "two", .status = 200,
		  .save = "old=eTag;oldc=cTag" },
		{ "the tags before", "PUT", path, "If-Match: {ctag}", .body = "no", .status = 412 },
		{ "any", "PUT", path, "If-Match: *", .body = "three", .status = 200,
		  .save = "ctag=cTag;etag=eTag" },
		{ "none may be there", "PUT", path, "If-None-Match: *", .body = "no",
		  .status = 412 },
		{ "If-Match for what is not there", "PUT", "/me/drive/root:/b.txt:/content",
		  "If-Match: *", .body = "no", .status = 412 },
		{ "a weak tag", "PUT", path, "If-Match: W/{etag}", .body = "four", .status = 200 },
		{ "fail", "PUT",
		  "/me/drive/root:/A.TXT:/content?@microsoft.graph.conflictBehavior=fail",
		  .body = "no", .status = 409, .want = "code=nameAlreadyExists" },
		{ "rename", "PUT",
		  "/me/drive/root:/a.txt:/content?%40microsoft.graph.conflictBehavior=rename",
		  .body = "5", .status = 201, .want = "name=a 1.txt" },
		{ "below an item", "PUT", "/me/drive/items/root:/z.txt:/content", .body = "z",
		  .status = 201, .save = "z=id" },
		{ "nothing in it", "PUT", "/me/drive/root:/zero:/content", .body = "",
		  .status = 201,
		  .want = "size=0;file/hashes/quickXorHash=AAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
		{ "emptied", "PUT", "/me/drive/items/{z}/content", .body = "", .status = 200,
		  .want = "size=0" },
		{ "long", "PUT", "/me/drive/root:/long:/content", .bytes_n = 1048576, .status = 201,
		  .want = "size=1048576;file/hashes/quickXorHash=XhQes7LH2XNgLdVXMMeilbw5oAI=" },
		{ "no parent", "PUT", "/me/drive/root:/no/z.txt:/content", .body = "z",
		  .status = 404 },
		{ "below a file", "PUT", "/me/drive/root:/zero/z:/content", .body = "z",
		  .status = 404 },
		{ "unknown id", "PUT", "/me/drive/items/01AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/content",
		  .body = "z", .status = 404 },
		{ "a folder", "PUT", "/me/drive/root/content", .body = "z", .status = 400 },
		{ "unknown call", "POST", "/me/drive/root/nonsense", .body = "{}", .status = 405 },
	};
	struct simtalk t;

	for (size_t i = 0; i < sizeof(flavours) / sizeof(flavours[0]); i++) {
		simtalk_start(&t, flavours[i]);
		RUN(&t, steps);
		simtalk_stop(&t);
	}
}

static void test_names(void **state)
{
	static const struct {
		const char *name; /* as in JSON */
		const char *inner;
	} names[] = {
		{ "a*b", "invalidPath" },
		{ "a:b", "invalidPath" },
		{ "a<b", "invalidPath" },
		{ "a>b", "invalidPath" },
		{ "a?b", "invalidPath" },
		{ "a/b", "invalidPath" },
		{ "a\\\\b", "invalidPath" },
		{ "a|b", "invalidPath" },
		{ "a\\\"b", "invalidPath" },
		{ "a\\tb", "invalidPath" },
		{ "a\\u007fb", "invalidPath" },
		{ " a", "invalidPath" },
		{ "a ", "invalidPath" },
		{ "a.", "invalidPath" },
		{ "", "invalidPath" },
		{ "con", "invalidPath" },
		{ "NUL.txt", "invalidPath" },
		{ "Com0", "invalidPath" },
		{ "lpt9.x", "invalidPath" },
		{ ".lock", "invalidPath" },
		{ "Desktop.ini", "invalidPath" },
		{ "~$a.docx", "invalidPath" },
		{ "~a", "invalidPath" },
		{ "a_VTI_b", "invalidPath" },
		{ "Forms", "invalidPath" },
		{ "com10", NULL },
		{ "console", NULL },
		{ ".hidden", NULL },
		{ "a#b%c", NULL },
		{ "Größe 🚀", NULL },
		{ "a.lock", NULL },
	};
	struct simtalk t;

	simtalk_start(&t, "library");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char body[200], want[100];
		struct simtalk_step step = { names[i].name,
					     "POST",
					     CHILDREN,
					     .body = body,
					     .status = names[i].inner ? 400 : 201,
					     .want = want };

		snprintf(body, sizeof(body), "{\"name\":\"%s\",\"folder\":{}}", names[i].name);
		snprintf(want, sizeof(want),
			 names[i].inner ? "code=invalidRequest;inner=%s" : "id~%s",
			 names[i].inner ? names[i].inner : "");
		simtalk_run(&t, &step, 1);
	}
	simtalk_stop(&t);
}

/* Lengths count UTF-16 units: of a name, and of the whole path. */
static void test_lengths(void **state)
{
	char name[800] = "", body[1000], path[1000], file[2000];
	struct simtalk_step make = { "folder", "POST", CHILDREN, .body = body, .status = 201 };
	struct simtalk_step put = { "file", "PUT", file, .body = "x" };
	struct simtalk t;

	simtalk_start(&t, "business");
	for (int i = 0; i < 255; i++)
		strcat(name, "é");
	snprintf(body, sizeof(body), "{\"name\":\"%s\",\"folder\":{}}", name);
	simtalk_run(&t, &make, 1);
	snprintf(body, sizeof(body), "{\"name\":\"%sx\",\"folder\":{}}", name);
	make.status = 400;
	make.want = "inner=pathIsTooLong";
	simtalk_run(&t, &make, 1);
	memset(name, 'a', 200);
	name[200] = '\0';
	snprintf(body, sizeof(body), "{\"name\":\"%s\",\"folder\":{}}", name);
	make.status = 201;
	make.want = NULL;
	simtalk_run(&t, &make, 1);
	snprintf(path, sizeof(path), "/me/drive/root:/%s/", name);
	for (int n = 198; n <= 200; n++) {
		snprintf(file, sizeof(file), "%s%.*s:/content", path, n, name);
		put.status = n <= 199 ? 201 : 400;
		simtalk_run(&t, &put, 1);
	}
	simtalk_stop(&t);
}

static void test_patch(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "folder a", "POST", CHILDREN, .body = FOLDER("a", "fail"), .status = 201,
		  .save = "a=id" },
		{ "folder b", "POST", CHILDREN, .body = FOLDER("b", "fail"), .status = 201,
		  .save = "b=id;bpar=parentReference/id" },
		{ "f", "PUT", "/me/drive/root:/f.txt:/content", .body = "f", .status = 201,
		  .save = "f=id;etag=eTag;ctag=cTag;drive=parentReference/driveId" },
		{ "g", "PUT", "/me/drive/root:/g.txt:/content", .body = "gg", .status = 201,
		  .save = "g=id" },
		{ "rename", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"h.txt\"}",
		  .status = 200, .want = "id={f};name=h.txt;cTag={ctag};eTag~{etag}",
		  .save = "etag=eTag" },
		{ "old name is free", "GET", "/me/drive/root:/f.txt", .status = 404 },
		{ "case alone", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"H.txt\"}",
		  .status = 200, .want = "name=H.txt", .save = "etag=eTag" },
		{ "taken", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"G.txt\"}",
		  .status = 409, .want = "code=nameAlreadyExists" },
		{ "wrong If-Match", "PATCH", "/me/drive/items/{f}", "If-Match: \"other,9\"",
		  .body = "{\"name\":\"i\"}", .status = 412,
		  .want = "code=notAllowed;inner=preconditionFailed" },
		{ "right If-Match", "PATCH", "/me/drive/items/{f}", "If-Match: {etag}",
		  .body = "{\"name\":\"f.txt\"}", .status = 200 },
		{ "move", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"parentReference\":{\"id\":\"{a}\"}}", .status = 200,
		  .want = "name=f.txt;parentReference/id={a}" },
		{ "move and rename, by drive and id", "PATCH", "/me/drive/root:/a/f.txt",
		  .body = "{\"name\":\"k\",\"parentReference\":{\"driveId\":\"{drive}\","
			  "\"id\":\"{b}\"}}",
		  .status = 200, .want = "id={f};name=k;parentReference/id={b}" },
		{ "move by path", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"parentReference\":{\"path\":\"/drive/root:/a\"}}", .status = 200,
		  .want = "parentReference/id={a}" },
		{ "times", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"fileSystemInfo\":{\"lastModifiedDateTime\":\"2021-02-03T04:05:06."
			  "789Z\","
			  "\"createdDateTime\":\"2020-02-03T04:05:06Z\"}}",
		  .status = 200,
		  .want = "fileSystemInfo/lastModifiedDateTime=2021-02-03T04:05:06Z;"
			  "fileSystemInfo/createdDateTime=2020-02-03T04:05:06Z;cTag={ctag}" },
		{ "no time", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"fileSystemInfo\":{\"lastModifiedDateTime\":\"yesterday\"}}",
		  .status = 400 },
		{ "override of the method", "POST", "/me/drive/items/{f}",
		  "X-HTTP-Method-Override: PATCH", .body = "{\"name\":\"m\"}", .status = 200,
		  .want = "name=m" },
		{ "replace a file", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"name\":\"g.txt\",\"parentReference\":{\"id\":\"{bpar}\"},"
			  "\"@microsoft.graph.conflictBehavior\":\"replace\"}",
		  .status = 200, .want = "id={f};name=g.txt;size=1" },
		{ "the replaced one is gone", "GET", "/me/drive/items/{g}", .status = 404 },
		{ "replace a folder", "PATCH",
		  "/me/drive/items/{a}?@microsoft.graph.conflictBehavior=replace",
		  .body = "{\"name\":\"b\"}", .status = 409 },
		{ "folder over file", "PATCH",
		  "/me/drive/items/{a}?@microsoft.graph.conflictBehavior=replace",
		  .body = "{\"name\":\"g.txt\"}", .status = 409 },
		{ "rename out of the way", "PATCH",
		  "/me/drive/items/{a}?@microsoft.graph.conflictBehavior=rename",
		  .body = "{\"name\":\"b\"}", .status = 200, .want = "name=b 1" },
		{ "bad name", "PATCH", "/me/drive/items/{a}", .body = "{\"name\":\"x|y\"}",
		  .status = 400, .want = "inner=invalidPath" },
		{ "into itself", "PATCH", "/me/drive/items/{a}",
		  .body = "{\"parentReference\":{\"id\":\"{a}\"}}", .status = 400 },
		{ "root by name", "PATCH", "/me/drive/items/{a}",
		  .body = "{\"parentReference\":{\"id\":\"root\"}}", .status = 400 },
		{ "to nowhere", "PATCH", "/me/drive/items/{a}",
		  .body = "{\"parentReference\":{\"path\":\"/drive/root:/none\"}}", .status = 404 },
		{ "the root", "PATCH", "/me/drive/root", .body = "{\"name\":\"x\"}",
		  .status = 400 },
		{ "the other drive", "GET", "/groups/x/drive/root", .status = 200,
		  .save = "other=parentReference/driveId;oroot=id" },
		{ "to the other drive", "PATCH", "/me/drive/items/{a}",
		  .body = "{\"parentReference\":{\"driveId\":\"{other}\",\"id\":\"{oroot}\"}}",
		  .status = 400, .want = "code=notSupported" },
		{ "mtime is lost when asked for", "POST", "admin/writing",
		  .body = "{\"move_resets_mtime\":true}", .status = 200 },
		{ "a move loses it", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"n\"}",
		  .status = 200,
		  .want = "fileSystemInfo/lastModifiedDateTime~2021-02-03T04:05:06Z" },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

static void test_delete(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "a", "POST", CHILDREN, .body = FOLDER("a", "fail"), .status = 201,
		  .save = "a=id" },
		{ "a/b", "POST", "/me/drive/root:/a:/children", .body = FOLDER("b", "fail"),
		  .status = 201, .save = "b=id" },
		{ "a/b/c", "PUT", "/me/drive/root:/a/b/c:/content", .body = "c", .status = 201,
		  .save = "c=id;etag=eTag" },
		{ "right tag, refused all the same", "DELETE", "/me/drive/items/{c}",
		  "If-Match: {etag}", .status = 412, .want = "code=notAllowed" },
		{ "knob", "POST", "admin/writing", .body = "{\"delete_if_match\":true}",
		  .status = 200 },
		{ "wrong tag", "DELETE", "/me/drive/items/{c}", "If-Match: \"x\"", .status = 412 },
		{ "right tag", "DELETE", "/me/drive/items/{c}", "If-Match: {etag}", .status = 204 },
		{ "again", "DELETE", "/me/drive/items/{c}", .status = 404 },
		{ "c again", "PUT", "/me/drive/root:/a/b/c:/content", .body = "c", .status = 201,
		  .save = "c=id" },
		{ "all of it", "DELETE", "/me/drive/root:/a", .status = 204, .want = "body=" },
		{ "b is gone", "GET", "/me/drive/items/{b}", .status = 404 },
		{ "c is gone", "GET", "/me/drive/items/{c}", .status = 404 },
		{ "the root", "DELETE", "/me/drive/root", .status = 400 },
		{ "d", "PUT", "/me/drive/root:/d:/content", .body = "d", .status = 201,
		  .save = "d=id" },
		{ "for good", "POST", "/me/drive/items/{d}/permanentDelete", .status = 204 },
		{ "d is gone", "GET", "/me/drive/items/{d}", .status = 404 },
	};
	static const struct simtalk_step personal[] = {
		{ "d", "PUT", "/me/drive/root:/d:/content", .body = "d", .status = 201,
		  .save = "d=id" },
		{ "not on personal drives", "POST", "/me/drive/items/{d}/permanentDelete",
		  .status = 400 },
		{ "but so", "DELETE", "/me/drive/items/{d}", .status = 204 },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
	simtalk_start(&t, "personal-new");
	RUN(&t, personal);
	simtalk_stop(&t);
}

static void test_refused(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "a", "POST", CHILDREN, .body = FOLDER("a", "fail"), .status = 201,
		  .save = "a=id" },
		{ "a/f", "PUT", "/me/drive/root:/a/f:/content", .body = "f", .status = 201,
		  .save = "f=id" },
		{ "b", "PUT", "/me/drive/root:/b:/content", .body = "f", .status = 201,
		  .save = "b=id" },
		{ "lock", "POST", "admin/protect", .body = "{\"path\":\"a/f\",\"locked\":true}",
		  .status = 200 },
		{ "put", "PUT", "/me/drive/items/{f}/content", .body = "x", .status = 423,
		  .want = "inner=resourceLocked" },
		{ "session", "POST", "/me/drive/items/{f}/createUploadSession", .body = "{}",
		  .status = 423 },
		{ "rename", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"g\"}",
		  .status = 423 },
		{ "delete", "DELETE", "/me/drive/items/{f}", .status = 423 },
		{ "delete above", "DELETE", "/me/drive/items/{a}", .status = 423 },
		{ "rename above", "PATCH", "/me/drive/items/{a}", .body = "{\"name\":\"aa\"}",
		  .status = 200 },
		{ "read-only", "POST", "admin/protect",
		  .body = "{\"path\":\"aa\",\"read_only\":true,\"locked\":false}", .status = 200 },
		{ "unlock", "POST", "admin/protect", .body = "{\"path\":\"aa/f\",\"locked\":false}",
		  .status = 200 },
		{ "mkdir", "POST", "/me/drive/items/{a}/children", .body = FOLDER("x", "fail"),
		  .status = 403, .want = "code=accessDenied" },
		{ "new file", "PUT", "/me/drive/root:/aa/x:/content", .body = "x", .status = 404 },
		{ "new session", "POST", "/me/drive/root:/aa/x:/createUploadSession", .body = "{}",
		  .status = 403 },
		{ "put", "PUT", "/me/drive/items/{f}/content", .body = "x", .status = 403 },
		{ "rename", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"g\"}",
		  .status = 403 },
		{ "move in", "PATCH", "/me/drive/items/{b}",
		  .body = "{\"parentReference\":{\"id\":\"{a}\"}}", .status = 403 },
		{ "delete", "DELETE", "/me/drive/items/{f}", .status = 403 },
		{ "copy in", "POST", "/me/drive/items/{b}/copy",
		  .body = "{\"parentReference\":{\"id\":\"{a}\"}}", .status = 403 },
		{ "little room", "POST", "admin/writing", .body = "{\"quota_bytes\":10}",
		  .status = 200 },
		{ "told", "GET", "/me/drive", .status = 200,
		  .want = "quota/total=10;quota/used=2;quota/remaining=8" },
		{ "too much", "PUT", "/me/drive/root:/c:/content", .body = "123456789",
		  .status = 507, .want = "code=quotaLimitReached" },
		{ "just right", "PUT", "/me/drive/root:/c:/content", .body = "12345678",
		  .status = 201 },
		{ "in its place", "PUT", "/me/drive/root:/c:/content", .body = "1234567",
		  .status = 200 },
		{ "nothing needs no room", "PUT", "/me/drive/root:/d:/content", .body = "",
		  .status = 201 },
		{ "what is deleted makes room", "DELETE", "/me/drive/root:/c", .status = 204 },
		{ "so it fits", "PUT", "/me/drive/root:/e:/content", .body = "12345678",
		  .status = 201 },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

/* A folder's cTag, which personal drives show, tells of changes below it; its eTag does not. */
static void test_folder_tags(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "a", "POST", CHILDREN, .body = FOLDER("a", "fail"), .status = 201,
		  .save = "a=id;etag=eTag;ctag=cTag" },
		{ "b", "POST", "/me/drive/root:/a:/children", .body = FOLDER("b", "fail"),
		  .status = 201 },
		{ "made", "GET", "/me/drive/items/{a}", .status = 200,
		  .want = "eTag={etag};cTag~{ctag}", .save = "ctag=cTag" },
		{ "f", "PUT", "/me/drive/root:/a/b/f:/content", .body = "f", .status = 201,
		  .save = "f=id" },
		{ "made deeper", "GET", "/me/drive/items/{a}", .status = 200,
		  .want = "eTag={etag};cTag~{ctag}", .save = "ctag=cTag" },
		{ "move out", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"parentReference\":{\"path\":\"/drive/root:\"}}", .status = 200 },
		{ "moved", "GET", "/me/drive/items/{a}", .status = 200,
		  .want = "eTag={etag};cTag~{ctag}", .save = "ctag=cTag" },
		{ "elsewhere", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"g\"}",
		  .status = 200 },
		{ "untouched", "GET", "/me/drive/items/{a}", .status = 200, .want = "cTag={ctag}" },
		{ "delete below", "DELETE", "/me/drive/root:/a/b", .status = 204 },
		{ "deleted", "GET", "/me/drive/items/{a}", .status = 200,
		  .want = "eTag={etag};cTag~{ctag}" },
	};
	struct simtalk t;

	simtalk_start(&t, "personal-new");
	RUN(&t, steps);
	simtalk_stop(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folders), cmocka_unit_test(test_put),
		cmocka_unit_test(test_names),   cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_patch),   cmocka_unit_test(test_delete),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_folder_tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
