//! Gitaly's token, version 2: minted for each call, because it is good for half a minute only.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// The value of the `authorization` header at a time (seconds since 1970, by the clock that Gitaly's own is compared
/// with): `Bearer v2.<hex of HMAC-SHA256(token, time)>.<time>`.
pub fn bearer(token: &SecretString, seconds: i64) -> String {
    let time = seconds.to_string();
    // The token's file usually ends in a newline that is no part of it.
    let key = token.expose_secret().trim_end_matches(['\r', '\n']).as_bytes();
    // An HMAC takes a key of any length: the error cannot happen, and an empty mac is refused by the server.
    let mac = Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| hex::encode(mac.chain_update(time.as_bytes()).finalize().into_bytes()))
        .unwrap_or_default();
    format!("Bearer v2.{mac}.{time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_vector_is_met() {
        let expected = "Bearer v2.3346cb25ecdb928defd368e7390522a86764bbdf1e8b21aaef27c4c23ec9c899.1535671615";
        assert_eq!(bearer(&SecretString::from("foo"), 1_535_671_615), expected);
        assert_eq!(bearer(&SecretString::from("foo\r\n"), 1_535_671_615), expected);
        assert_ne!(bearer(&SecretString::from("foo"), 1_535_671_616), expected);
    }
}
