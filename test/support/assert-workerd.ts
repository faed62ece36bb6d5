// The pool can fall back to Node silently; everything here is only worth something inside workerd.
if (navigator.userAgent !== "Cloudflare-Workers")
  throw new Error(`these tests run in workerd, not in ${navigator.userAgent}`);
