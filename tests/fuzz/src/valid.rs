//! A value of any type that can be deserialised, by chance: each variant of each enum, whatever is added to it later.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// A value of `T`.
pub fn any<T: DeserializeOwned>(rng: &mut ChaCha8Rng) -> T {
    T::deserialize(Chance(rng)).unwrap_or_else(|error| panic!("a stored type takes any value: {error}"))
}

const TEXTS: [&str; 6] = ["", "r-1", "a/b", "{\"a\":[1,null]}", "ünï\u{0}", "/tape/run/begun/r-1"];

struct Chance<'a>(&'a mut ChaCha8Rng);

/// So many more of them.
struct Several<'a>(&'a mut ChaCha8Rng, usize);

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty,)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(match self.0.random_range(0..4) {
                0 => <$type>::MIN,
                1 => <$type>::MAX,
                2 => self.0.random_range(0..4),
                _ => self.0.random_range(<$type>::MIN..=<$type>::MAX),
            })
        }
    )* };
}

impl<'de> Deserializer<'de> for Chance<'_> {
    type Error = Error;

    numbers! {
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(TEXTS[self.0.random_range(0..TEXTS.len())])
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.0.random())
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.random() {
            visitor.visit_some(self)
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let len = self.0.random_range(0..3);
        visitor.visit_seq(Several(self.0, len))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Several(self.0, len))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let len = self.0.random_range(0..3);
        visitor.visit_map(Several(self.0, len))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Several(self.0, fields.len()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = variants[self.0.random_range(0..variants.len())];
        visitor.visit_enum(Variant(self.0, variant))
    }

    serde::forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit_struct tuple_struct identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Several<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.1.checked_sub(1) {
            Some(left) => {
                self.1 = left;
                seed.deserialize(Chance(self.0)).map(Some)
            }
            None => Ok(None),
        }
    }
}

impl<'de> MapAccess<'de> for Several<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Chance(self.0))
    }
}

struct Variant<'a>(&'a mut ChaCha8Rng, &'static str);

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Chance<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Chance<'a>), Error> {
        let name: StrDeserializer<'_, Error> = self.1.into_deserializer();
        Ok((seed.deserialize(name)?, Chance(self.0)))
    }
}

impl<'de> VariantAccess<'de> for Chance<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Several(self.0, len))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Several(self.0, fields.len()))
    }
}
