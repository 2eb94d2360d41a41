#include "samples.h"

#define SAMPLES(name, table) \
	const struct samples samples_##name = { table, sizeof(table) / sizeof((table)[0]) }

static const struct sample page[] = {
	{ "", "body of 0 bytes is not JSON" },
	{ " ", "body of 1 bytes is not JSON" },
	{ "{", "is not JSON" },
	{ "[]", "body is not a JSON object" },
	{ "null", "is not JSON" },
	{ "\"text\"", "body is not a JSON object" },
	{ "17", "is not JSON" },
	{ "{}", "value is not an array" },
	{ "{\"value\":[]}", "the last page has no @odata.deltaLink" },
	{ "{\"value\":null,\"@odata.deltaLink\":\"{delta}\"}", "value is not an array" },
	{ "{\"value\":{},\"@odata.deltaLink\":\"{delta}\"}", "value is not an array" },
	{ "{\"value\":7,\"@odata.deltaLink\":\"{delta}\"}", "value is not an array" },
	{ "{\"value\":[null],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: item is not an object" },
	{ "{\"value\":[7],\"@odata.deltaLink\":\"{delta}\"}", "value[0]: item is not an object" },
	{ "{\"value\":[[]],\"@odata.deltaLink\":\"{delta}\"}", "value[0]: item is not an object" },
	{ "{\"value\":[\"x\"],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: item is not an object" },
	{ "{\"value\":[{}],\"@odata.deltaLink\":\"{delta}\"}", "value[0]: id is missing" },
	{ "{\"value\":[],\"@odata.deltaLink\":null}", "the last page has no @odata.deltaLink" },
	{ "{\"value\":[],\"@odata.deltaLink\":7}", "@odata.deltaLink is not a string" },
	{ "{\"value\":[],\"@odata.deltaLink\":\"\"}", "@odata.deltaLink leads away" },
	{ "{\"value\":[],\"@odata.deltaLink\":\"http://example.com/v1.0/delta\"}",
	  "@odata.deltaLink leads away" },
	{ "{\"value\":[],\"@odata.deltaLink\":\"file:///etc/passwd\"}",
	  "@odata.deltaLink leads away" },
	{ "{\"value\":[],\"@odata.nextLink\":\"http://169.254.169.254/latest\"}",
	  "@odata.nextLink leads away" },
	{ "{\"value\":[],\"@odata.nextLink\":\"http://127.0.0.1:1/v1.0/me/drive/root/delta\"}",
	  "@odata.nextLink leads away" },
	{ "{\"value\":[],\"@odata.nextLink\":\"relative\"}", "@odata.nextLink leads away" },
	{ "{\"value\":[],\"@odata.nextLink\":{}}", "@odata.nextLink is not a string" },
	{ "{\"value\":[],\"@odata.nextLink\":\"{next}\"}", "@odata.nextLink leads in a circle" },
	{ "{\"value\":[],\"@odata.deltaLink\":\"{delta}\"", "is not JSON" },
	{ "{\"value\":[{\"id\":7}],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: id is not a string" },
	{ "{\"value\":[{\"id\":\"\"}],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: id is missing" },
	{ "{\"value\":[{\"id\":null,\"name\":\"x\"}],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: id is missing" },
	{ "{\"value\":[{\"id\":{},\"name\":\"x\"}],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: id is not a string" },
	{ "{\"value\":[{\"id\":\"a\\u0000b\",\"name\":\"x\"}],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: id is not a string" },
	{ "{\"value\":[{\"name\":\"no id\",\"file\":{}}],\"@odata.deltaLink\":\"{delta}\"}",
	  "value[0]: id is missing" },
	{ "{\"error\":{\"code\":\"generalException\"}}", "value is not an array" },
	{ "{\"error\":\"text\"}", "value is not an array" },
	{ "<html><body>Please sign in to the network</body></html>", "is not JSON" },
	{ "\357\273\277", "is not JSON" },
	{ "{\"value\":[],,\"@odata.deltaLink\":\"{delta}\"}", "is not JSON" },
	{ "{'value':[],'@odata.deltaLink':'{delta}'}", "is not JSON" },
	{ "{\"value\":[],\"@odata.deltaLink\":\"{delta}\"}}", "is not JSON" },
	{ "{\"value\":[],\"@odata.deltaLink\":\"{delta}\"}trailing", "is not JSON" },
	{ "{\"value\":[{\"id\":\"A\",\"size\":1e999}],\"@odata.deltaLink\":NaN}",
	  "@odata.deltaLink is not a string" },
	{ "{\"value\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
	  "]]],\"@odata.deltaLink\":\"{delta}\"}",
	  "is not JSON" },
};
SAMPLES(page, page);

static const struct sample odd[] = {
	{ "{\"value\":[{\"id\":\"NEVER\",\"deleted\":{}},{\"id\":\"NEVER\",\"deleted\":{\"state\":"
	  "\"deleted\"}}],\"@odata.deltaLink\":\"{delta}\"}",
	  NULL },
	{ "{\"value\":[{\"id\":\"$ROOT\",\"deleted\":{}}],\"@odata.deltaLink\":\"{delta}\"}",
	  "drive's root is deleted: not believed" },
	{ "{\"value\":[{\"id\":\"$DIR\",\"name\":\"dir\",\"folder\":{},\"parentReference\":{\"id\":"
	  "\"$SUB\"}}],\"@odata.deltaLink\":\"{delta}\"}",
	  "below itself: left where it was" },
	{ "{\"value\":[{\"id\":\"$ROOT\",\"name\":\"root\",\"folder\":{},\"parentReference\":{"
	  "\"id\":\"$SUB\"}}],\"@odata.deltaLink\":\"{delta}\"}",
	  NULL },
	{ "{\"value\":[{\"id\":\"SELF\",\"name\":\"self\",\"folder\":{},\"parentReference\":{"
	  "\"id\":\"SELF\"}}],\"@odata.deltaLink\":\"{delta}\"}",
	  NULL },
	{ "{\"value\":[{\"id\":\"RING1\",\"name\":\"r1\",\"folder\":{},\"parentReference\":{\"id\":"
	  "\"RING2\"}},{\"id\":\"RING2\",\"name\":\"r2\",\"folder\":{},\"parentReference\":{\"id\":"
	  "\"RING1\"}}],\"@odata.deltaLink\":\"{delta}\"}",
	  NULL },
	{ "{\"value\":[{\"id\":\"ORPHAN\",\"name\":\"orphan\",\"file\":{},\"parentReference\":{"
	  "\"id\":\"NOWHERE\"}}],\"@odata.deltaLink\":\"{delta}\"}",
	  NULL },
	{ "{\"value\":[{\"id\":\"ALONE\",\"name\":\"alone\",\"file\":{}}],\"@odata.deltaLink\":\"{"
	  "delta}\"}",
	  NULL },
	{ "{\"value\":[{\"id\":\"OTHERROOT\",\"name\":\"root\",\"root\":{},\"folder\":{}},{\"id\":"
	  "\"$ROOT\",\"name\":\"root\",\"root\":{},\"folder\":{}}],\"@odata.deltaLink\":\"{delta}"
	  "\"}",
	  NULL },
	{ "{\"value\":[{\"id\":\"$DIR\",\"name\":\"dir\",\"folder\":{},\"parentReference\":{\"id\":"
	  "\"$ROOT\"}},{\"id\":\"$DIR\",\"name\":\"dir\",\"folder\":{},\"parentReference\":{\"id\":"
	  "\"$ROOT\"}}],\"@odata.deltaLink\":\"{delta}\"}",
	  NULL },
	{ "\357\273\277{\"value\":[],\"@odata.deltaLink\":\"{delta}\",\"unknown\":[{\"deep\":{}}]}",
	  NULL },
};
SAMPLES(odd, odd);

static const struct sample item[] = {
	{ "{\"id\":\"$ID\",\"name\":7,\"file\":{}}", "name is " },
	{ "{\"id\":\"$ID\",\"name\":null,\"file\":{}}", "name is " },
	{ "{\"id\":\"$ID\",\"name\":{},\"file\":{}}", "name is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"size\":\"many\"}", "size is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"size\":-5}", "size of a file is negative" },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"size\":1.5}", "size is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"size\":99999999999999999999}", "size is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"deleted\":true}", "deleted is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":\"x\"}", "file is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"folder\":[]}", "folder is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"package\":1}", "package is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"remoteItem\":\"r\"}", "remoteItem is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"root\":7}", "root is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"parentReference\":\"/drive/root:\"}",
	  "parentReference is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"parentReference\":{\"id\":7}}",
	  "parentReference.id is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"parentReference\":{\"driveId\":{}}}",
	  "parentReference.driveId is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"eTag\":1}", "eTag is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"cTag\":[]}", "cTag is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"webUrl\":{}}", "webUrl is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"lastModifiedDateTime\":\"soon\"}",
	  "lastModifiedDateTime is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"createdDateTime\":5}",
	  "createdDateTime is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"fileSystemInfo\":\"now\"}",
	  "fileSystemInfo is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"malware\":\"yes\"}", "malware is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{},\"specialFolder\":[]}", "specialFolder is " },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"file\":{\"hashes\":{\"quickXorHash\":\"short\"}}}",
	  "quickXorHash is not a hash" },
	{ "{\"id\":\"$ID\",\"name\":\"n\",\"folder\":{\"childCount\":\"two\"}}",
	  "folder.childCount is not a number" },
};
SAMPLES(item, item);

static const struct sample listing[] = {
	{ "{\"body\":\"\"}", "is not JSON" },
	{ "{\"body\":\"{\"}", "is not JSON" },
	{ "{\"body\":\"[]\"}", "not a JSON object" },
	{ "{\"body\":\"{\\\"value\\\":7}\"}", "value is not an array" },
	{ "{\"body\":\"{\\\"value\\\":[null]}\"}", "value[0]: item is not an object" },
	{ "{\"body\":\"{\\\"value\\\":[{\\\"id\\\":7}]}\"}", "value[0]: id" },
	{ "{\"body\":\"{\\\"error\\\":{}}\"}", "value is not an array" },
	{ "{\"body\":\"<html>sign in</html>\",\"content_type\":\"text/html\"}", "is not JSON" },
	{ "{\"body\":\"{\\\"value\\\":[],\\\"@odata.nextLink\\\":\\\"http://example.com/\\\"}\"}",
	  "@odata.nextLink leads away" },
	{ "{\"body\":\"{\\\"value\\\":[],\\\"@odata.nextLink\\\":17}\"}",
	  "@odata.nextLink is not a string" },
	{ "{\"truncate\":100}", "no reply that can be used" },
	{ "{\"reset_at\":100}", "no reply that can be used" },
	{ "{\"overlong\":100}", NULL },
	{ "{\"content_length\":\"-1\"}", "no reply that can be used" },
	{ "{\"content_length\":\"99999999999999999999\"}", "no reply that can be used" },
	{ "{\"raw\":\"HTTP/1.1 200 OK\\r\\n\"}", "no reply that can be used" },
	{ "{\"raw\":\"nonsense\\r\\n\\r\\n\"}", "no reply that can be used" },
	{ "{\"raw\":\"HTTP/1.1 999 ?\\r\\n\\r\\n\"}", "" },
	{ "{\"status\":301,\"location\":\"http://169.254.169.254/\"}", "301" },
	{ "{\"status\":302,\"location\":\"file:///etc/passwd\"}", "302" },
	{ "{\"status\":302,\"location\":\"\"}", "302" },
	{ "{\"status\":204}", "not JSON" },
	{ "{\"status\":418}", "418" },
	{ "{\"status\":500,\"body\":\"\"}", "500" },
	{ "{\"status\":503,\"retry_after\":\"0\"}", "503" },
	{ "{\"headers\":{\"Content-Encoding\":\"gzip\"}}", "no reply that can be used" },
	{ "{\"headers\":{\"X-Fold\":\"a\\r\\n b\"}}", NULL },
};
SAMPLES(listing, listing);

static const struct sample info[] = {
	{ "{\"body\":\"\"}", "is not JSON" },
	{ "{\"body\":\"[]\"}", "not a JSON object" },
	{ "{\"body\":\"{\\\"name\\\":\\\"x\\\"}\"}", "id is missing" },
	{ "{\"body\":\"{\\\"id\\\":\\\"x\\\",\\\"file\\\":{}}\"}", "name is missing" },
	{ "{\"body\":\"{\\\"id\\\":\\\"x\\\",\\\"name\\\":\\\"y\\\",\\\"size\\\":\\\"5\\\","
	  "\\\"file\\\":{}}\"}",
	  "size is not a number" },
	{ "{\"body\":\"<html>\",\"content_type\":\"text/html\"}", "is not JSON" },
	{ "{\"body\":\"{\\\"id\\\":\\\"x\\\",\\\"name\\\":\\\"y\\\",\\\"size\\\":1,\\\"file\\\":{},"
	  "\\\"@microsoft.graph.downloadUrl\\\":7}\"}",
	  "downloadUrl is not a string" },
	{ "{\"status\":403,\"code\":\"malwareDetected\"}", "malwareDetected" },
	{ "{\"status\":500}", "500" },
	{ "{\"truncate\":10}", "no reply that can be used" },
};
SAMPLES(info, info);

static const struct sample redirect[] = {
	{ "{\"status\":200,\"body\":\"x\"}", "content without a redirect" },
	{ "{\"status\":302,\"location\":\"http://example.com/x\"}", "refused to ask" },
	{ "{\"status\":302,\"location\":\"file:///etc/passwd\"}", "refused to ask" },
	{ "{\"status\":302,\"location\":\"\"}", "" },
	{ "{\"status\":302,\"location\":\"https://user:password@example.com/\"}",
	  "refused to ask" },
	{ "{\"status\":404}", "404" },
};
SAMPLES(redirect, redirect);

static const struct sample content[] = {
	{ "{\"truncate\":50000}", "" },
	{ "{\"reset_at\":50000}", "" },
	{ "{\"overlong\":1000}", NULL },
	{ "{\"flip\":1234}", "is damaged: its hash is wrong again" },
	{ "{\"content_range\":\"bytes 5-99999/100000\"}",
	  "Content-Range is not what was asked for" },
	{ "{\"content_range\":\"bytes 0-99998/99999\"}", "malformed reply" },
	{ "{\"content_range\":\"rubbish\"}", "Content-Range is missing or malformed" },
	{ "{\"content_range\":\"bytes 0-9223372036854775807/9223372036854775807\"}",
	  "Content-Range" },
	{ "{\"ignore_range\":true}", NULL },
	{ "{\"body\":\"<html>sign in</html>\",\"content_type\":\"text/html\"}", "" },
	{ "{\"body\":\"\"}", "" },
	{ "{\"content_length\":\"-1\"}", "" },
	{ "{\"headers\":{\"Content-Encoding\":\"gzip\"}}", NULL },
	{ "{\"status\":206,\"body\":\"short\"}", "Content-Range is missing or malformed" },
	{ "{\"status\":204}", "neither content nor" },
	{ "{\"status\":404}", "" },
	{ "{\"status\":302,\"location\":\"http://example.com/\"}", "neither content nor" },
	{ "{\"drop\":true}", "" },
};
SAMPLES(content, content);

static const struct sample subscription[] = {
	{ "{\"body\":\"\"}", "is not JSON" },
	{ "{\"body\":\"[]\"}", "not a JSON object" },
	{ "{\"body\":\"{}\"}", "notificationUrl is missing" },
	{ "{\"body\":\"{\\\"notificationUrl\\\":7}\"}", "notificationUrl is not a string" },
	{ "{\"body\":\"{\\\"notificationUrl\\\":\\\"\\\"}\"}", "notificationUrl is missing" },
	{ "{\"body\":\"{\\\"notificationUrl\\\":\\\"http://example.com/n?t=1\\\"}\"}",
	  "the notification URL is not one to connect to" },
	{ "{\"body\":\"{\\\"notificationUrl\\\":\\\"https://example.com/n?t=1\\\"}\"}",
	  "the notification URL is not one to connect to" },
	{ "{\"body\":\"{\\\"notificationUrl\\\":\\\"ftp://x.svc.ms/\\\"}\"}",
	  "the notification URL is not one to connect to" },
	{ "{\"body\":\"{\\\"notificationUrl\\\":\\\"https://x.svc.ms@example.com/\\\"}\"}",
	  "the notification URL is not one to connect to" },
	{ "{\"body\":\"{\\\"id\\\":1,\\\"notificationUrl\\\":\\\"https://x.svc.ms/\\\"}\"}",
	  "id is not a string" },
	{ "{\"body\":\"{\\\"notificationUrl\\\":\\\"https://x.svc.ms/"
	  "\\\",\\\"expirationDateTime\\\":\\\"never\\\"}\"}",
	  "expirationDateTime is not a time" },
	{ "{\"status\":500}", "500" },
	{ "{\"status\":401}", "401" },
};
SAMPLES(subscription, subscription);

static const struct sample code[] = {
	{ "{\"body\":\"\"}", "the login service's reply is malformed" },
	{ "{\"body\":\"{}\"}", "the login service's reply is malformed" },
	{ "{\"body\":\"{\\\"device_code\\\":7,\\\"user_code\\\":\\\"A\\\",\\\"verification_uri\\\":"
	  "\\\"https://x/\\\"}\"}",
	  "the login service's reply is malformed" },
	{ "{\"body\":\"{\\\"device_code\\\":\\\"d\\\",\\\"user_code\\\":\\\"A\\\"}\"}",
	  "the login service's reply is malformed" },
	{ "{\"body\":\"<html>\"}", "the login service's reply is malformed" },
	{ "{\"status\":400,\"body\":\"{\\\"error\\\":\\\"invalid_client\\\",\\\"error_"
	  "description\\\":\\\"unknown application\\\"}\"}",
	  "unknown application" },
};
SAMPLES(code, code);

static const struct sample token[] = {
	{ "{\"body\":\"\"}", "the login service's reply is malformed" },
	{ "{\"body\":\"{}\"}", "the login service's reply is malformed" },
	{ "{\"body\":\"{\\\"access_token\\\":7,\\\"token_type\\\":\\\"Bearer\\\",\\\"expires_"
	  "in\\\":3600}\"}",
	  "the login service's reply is malformed" },
	{ "{\"body\":\"{\\\"access_token\\\":\\\"a\\\\u0000b\\\",\\\"token_type\\\":\\\"Bearer\\\","
	  "\\\"expires_in\\\":3600,\\\"refresh_token\\\":\\\"r\\\"}\"}",
	  "the login service's reply is malformed" },
	{ "{\"body\":\"[]\"}", "the login service's reply is malformed" },
	{ "{\"body\":\"<html>\"}", "the login service's reply is malformed" },
};
SAMPLES(token, token);

static const struct sample handshake[] = {
	{ "\"refuse\":403", "not 101" },
	{ "\"refuse\":500", "not 101" },
	{ "\"bad_accept\":true", "Accept hash wrong" },
	{ "\"open\":\"0{\"", "malformed open packet" },
	{ "\"open\":\"0{}\"", NULL },
	{ "\"open\":\"0{\\\"sid\\\":\\\"x\\\",\\\"pingInterval\\\":\\\"1\\\",\\\"pingTimeout\\\":1}"
	  "\"",
	  NULL },
	{ "\"open\":\"x\"", "malformed Engine.IO packet" },
	{ "\"open\":\"40\"", "a packet before the open packet" },
	{ "\"connect\":\"error\"", "the namespace was refused" },
	{ "\"connect\":\"error_string\"", "the namespace was refused" },
	{ "\"drop_after_connect\":true", "the connection ended" },
	{ "\"after_101\":\"HTTP/1.1 200 OK\"", "" },
};
SAMPLES(handshake, handshake);

static const struct sample frame[] = {
	{ "\"text\":\"\"", "malformed Engine.IO packet" },
	{ "\"text\":\"9\"", "malformed Engine.IO packet" },
	{ "\"text\":\"x\"", "malformed Engine.IO packet" },
	{ "\"text\":\"4\"", "malformed Socket.IO packet" },
	{ "\"text\":\"4abc\"", "malformed Socket.IO packet" },
	{ "\"text\":\"42\"", NULL },
	{ "\"text\":\"42{}\"", "malformed Socket.IO packet" },
	{ "\"text\":\"42[\"", "malformed Socket.IO packet" },
	{ "\"text\":\"42[]\"", "malformed Socket.IO packet" },
	{ "\"text\":\"42abc[\\\"x\\\"]\"", "malformed Socket.IO packet" },
	{ "\"text\":\"42/notifications,[17]\"", NULL },
	{ "\"text\":\"42/notifications,[\\\"unknown\\\"]\"", NULL },
	{ "\"text\":\"42/notifications\"", NULL },
	{ "\"text\":\"42/elsewhere,[\\\"notification\\\"]\"", NULL },
	{ "\"text\":\"42/notifications,99999999999999999999[\\\"notification\\\"]\"",
	  "malformed Socket.IO packet" },
	{ "\"text\":\"45-[\\\"x\\\"]\"", "malformed Socket.IO packet" },
	{ "\"text\":\"4599-[\\\"x\\\"]\"", "malformed Socket.IO packet" },
	{ "\"text\":\"450-/notifications,[\\\"notification\\\"]\"", NULL },
	{ "\"text\":\"451-/"
	  "notifications,[\\\"notification\\\",{\\\"_placeholder\\\":true,\\\"num\\\":0}]\","
	  "\"binary_b64\":\"AQID\"",
	  NULL },
	{ "\"text\":\"40\"", NULL },
	{ "\"text\":\"40/notifications,{}\"", NULL },
	{ "\"text\":\"41/notifications,\"", "the service ended the session" },
	{ "\"text\":\"41\"", "the service ended the session" },
	{ "\"text\":\"44/notifications,{\\\"message\\\":\\\"no\\\"}\"",
	  "the namespace was refused: no" },
	{ "\"text\":\"44/notifications,\\\"no\\\"\"", "the namespace was refused: no" },
	{ "\"text\":\"1\"", "closed by the service" },
	{ "\"text\":\"6\"", NULL },
	{ "\"text\":\"5\"", NULL },
	{ "\"text\":\"0{\\\"sid\\\":\\\"again\\\"}\"", NULL },
	{ "\"text\":\"b4abcd\"", "malformed Engine.IO packet" },
	{ "\"text\":\"2abc\"", NULL },
	{ "\"text\":\"3\"", NULL },
	{ "\"text_b64\":\"//8=\"", "a text is not UTF-8" },
	{ "\"binary_b64\":\"AQID\"", "a binary message that nothing announced" },
	{ "\"raw_b64\":\"gYEAAAAANA==\"", "malformed Socket.IO packet" },
	{ "\"raw_b64\":\"wQE0\"", "the connection ended" },
	{ "\"raw_b64\":\"gwA=\"", "the connection ended" },
	{ "\"raw_b64\":\"CQA=\"", "the connection ended" },
	{ "\"raw_b64\":\"gAA=\"", "the connection ended" },
	{ "\"raw_b64\":\"iQA=\"", NULL },
	{ "\"raw_b64\":\"gX9//////////w==\",\"size\":2097152", "too long" },
	{ "\"raw_b64\":\"iAE=\",\"fin\":true", "the connection ended" },
	{ "\"raw_b64\":\"iAED\"", "closed by the other side" },
	{ "\"raw_b64\":\"SFRUUC8xLjEgNDAwIEJhZA0KDQo=\"", "the connection ended" },
	{ "\"size\":2097152", "too long" },
	{ "\"close\":1000", "closed by the other side" },
	{ "\"close\":1009", "closed by the other side" },
	{ "\"close\":4999", "closed by the other side" },
	{ "\"close\":0", "closed by the other side" },
	{ "\"reset\":true", "the connection ended" },
	{ "\"fin\":true", "the connection ended" },
	{ "\"text\":\"42/notifications,[\\\"notification\\\",\\\"{}\\\"]\",\"repeat\":5000", NULL },
	{ "\"text\":\"2\",\"repeat\":20000", "too much waits to be sent" },
	{ "\"raw_b64\":\"AQE0gQE0\"", "the connection ended" },
	{ "\"raw_b64\":\"igA=\"", NULL },
	{ "\"close\":1001", "closed by the other side" },
	{ "\"close\":1012", "closed by the other side" },
	{ "\"raw_b64\":\"iAID6A==\"", "closed by the other side" },
	{ "\"raw_b64\":\"iAIAAA==\"", "closed by the other side" },
};
SAMPLES(frame, frame);

size_t samples_count(void)
{
	return samples_page.n + samples_odd.n + samples_item.n + samples_listing.n +
	       samples_info.n + samples_redirect.n + samples_content.n + samples_subscription.n +
	       samples_code.n + samples_token.n + samples_handshake.n + samples_frame.n;
}
